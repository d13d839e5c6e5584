"""How Sphinx builds the documentation: ``make docs``."""

import dxlthreateventclient

project = "dxlthreateventclient"
author = "The dxlthreateventclient maintainers"
copyright = author  # noqa: A001 - the name that Sphinx reads
release = version = dxlthreateventclient.get_version()

extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
html_theme = "furo"
html_title = f"{project} {release}"
nitpicky = True
