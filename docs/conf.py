"""The Sphinx configuration for ``make docs``."""

import dxlthreateventclient

project = "dxlthreateventclient"
author = "The dxlthreateventclient maintainers"
copyright = author  # noqa: A001 - Sphinx requires this name
release = version = dxlthreateventclient.get_version()

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

nitpicky = True
# Ignore names from other projects, because the build does not use intersphinx.
nitpick_ignore_regex = [
    (r"py:.*", r"(dxlclient|collections|datetime|os|pathlib|types)\..*"),
    (
        r"py:.*",
        r"(Callable|DxlClient|DxlClientConfig|DxlException|Event|EventCallback|Path|PathLike|TracebackType)",
    ),
]
