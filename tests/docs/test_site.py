"""The built site documents all public names and loads nothing from other sites."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.pages import DOCS, ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HTML documentation. Sphinx reports dead links and pages outside the table of contents as errors."""
    directory = tmp_path_factory.mktemp("site")
    options = ["-q", "-W", "--keep-going", "-b", "html"]
    subprocess.run([sys.executable, "-m", "sphinx", *options, DOCS, directory], check=True)
    return directory


def test_every_link_in_the_readme_works() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert "docs/images/demo.svg" in links
    assert not [link for link in links if not (ROOT / link).is_file()]


@pytest.mark.slow
def test_a_page_loads_nothing_from_other_sites(site: Path) -> None:
    loads = re.compile(r"""<(?:img|script)[^>]* src="(?:https?:)?//|<link[^>]* href="(?:https?:)?//""")
    embeds = re.compile(r"url\(.?http|@import|<script")
    for file in site.rglob("*.html"):
        assert not loads.search(file.read_text(encoding="utf-8")), file
    for file in [*DOCS.rglob("*.svg"), *(DOCS / "_static").iterdir()]:
        assert not embeds.search(file.read_text(encoding="utf-8")), file


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site: Path) -> None:
    anchors = re.findall(r'id="([\w.]+)"', (site / "reference.html").read_text(encoding="utf-8"))
    public_api = (ROOT / "tests/core/public_api.txt").read_text(encoding="utf-8")
    names = re.findall(r"^(?:class |def )?([\w.]+)", public_api, re.MULTILINE)
    # Sphinx documents constructors together with their classes.
    public = {name for name in names if not name.endswith(".__init__")}
    assert public
    assert not sorted(public.difference(anchors))
