"""The built site has no warnings, no dead links, no missing names and no resources from other sites."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from helpers import building
from helpers.pages import DOCS, PAGES, ROOT

TESTS = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in [file.stem, *re.findall(r"^ *def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)]
}


class Page(HTMLParser):
    """The anchors, links and loaded files of an HTML page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values["id"]} if "id" in values else set()
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        elif tag in ("img", "link", "script"):
            self.loaded |= {values[name] for name in ("src", "href") if name in values}


# Sphinx uses much of the time limit of "make test".
slow_to_build = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """Return the pages of the site by file."""
    return {path: Page(path) for path in building.site(tmp_path_factory).rglob("*.html")}


@slow_to_build
def test_pages_can_be_searched_and_code_blocks_copied(site: dict[Path, Page]) -> None:
    directory = next(iter(site)).parent
    while not (directory / "searchindex.js").exists():
        directory = directory.parent
    index = (directory / "searchindex.js").read_text(encoding="utf-8")
    for page in DOCS.glob("*.rst"):
        assert f'"{page.name}"' in index
    for path, html in site.items():
        if 'class="highlight"' in path.read_text(encoding="utf-8"):
            assert any("copybutton" in file for file in html.loaded), path


@slow_to_build
def test_every_internal_link_works(site: dict[Path, Page]) -> None:
    dead = []
    for path, page in site.items():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or link in ("#", ""):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in site and anchor not in site[target].anchors):
                dead.append((path.name, link))
    assert not dead


def test_every_link_in_the_readme_works() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert "docs/images/demo.svg" in links
    assert not [link for link in links if not (ROOT / link).is_file()]


@slow_to_build
def test_a_page_loads_nothing_from_other_sites(site: dict[Path, Page]) -> None:
    assert not [link for page in site.values() for link in page.loaded if urlsplit(link).netloc]
    pictures = [*DOCS.rglob("*.svg"), *(DOCS / "_static").iterdir()]
    for file in pictures:
        assert not re.search(r"url\(.?http|@import|<script", file.read_text(encoding="utf-8")), file


@slow_to_build
def test_every_page_is_in_the_navigation(site: dict[Path, Page]) -> None:
    landing = next(path for path in site if (path.parent / "objects.inv").exists() and path.stem == "index")
    navigation = {(landing.parent / urlsplit(link).path).resolve() for link in site[landing].links}
    assert {landing.parent / f"{page.stem}.html" for page in DOCS.glob("*.rst")} - navigation == {landing}


@slow_to_build
def test_every_public_name_is_in_the_reference(site: dict[Path, Page]) -> None:
    [anchors] = (page.anchors for path, page in site.items() if path.name == "reference.html")
    public_api = (ROOT / "tests/core/public_api.txt").read_text(encoding="utf-8")
    names = re.findall(r"^(?:class |def )?([\w.]+)", public_api, re.MULTILINE)
    # Sphinx documents constructors with their classes.
    public = {name for name in names if not name.endswith(".__init__")}
    assert public
    assert not sorted(public - anchors)


def test_every_test_that_the_docs_name_exists() -> None:
    # Tests in examples belong to the reader.
    examples = re.compile(r"^\.\. code-block:: python.*?(?=^\S)", re.MULTILINE | re.DOTALL)
    for page in PAGES:
        text = examples.sub("", page.read_text(encoding="utf-8"))
        assert set(re.findall(r"\btest_\w+", text)) <= TESTS, page
