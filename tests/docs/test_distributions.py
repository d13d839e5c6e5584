"""The contents of the wheel and the sdist."""

import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from helpers import building

import dxlthreateventclient

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return building.distributions(tmp_path_factory)


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_the_stubs(distributions: Path) -> None:
    [wheel] = distributions.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "dxlthreateventclient").rglob("*.py")}
    stubs = {f"dxlclient-stubs/{file.name}" for file in (ROOT / "stubs" / "dxlclient").iterdir()}
    assert modules | stubs | {"dxlthreateventclient/py.typed", "pytest_dxlthreateventclient.py"} == {
        name for name in names if ".dist-info/" not in name
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_sdist_holds_everything_that_git_tracks(distributions: Path) -> None:
    [sdist] = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(
        [
            "git",
            "ls-files",
            "deploy",
            "sample",
            "docs",
            "tests",
            "dxlthreateventclient",
            "stubs",
            "benchmarks",
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile"} <= names
    assert {"sample/common.py", "sample/dxlclient.config", "docs/conf.py", "tests/conftest.py"} <= names
    assert set(tracked) <= names


def test_the_version_is_written_once() -> None:
    """Only in ``_version.py``, so that no two places can differ."""
    pattern = re.compile(rf"\b{re.escape(dxlthreateventclient.__version__)}\b")
    files = [
        file.relative_to(ROOT)
        for file in [*ROOT.glob("*.toml"), *ROOT.glob("*.py"), *(ROOT / "dxlthreateventclient").rglob("*.py")]
        if pattern.search(file.read_text(encoding="utf-8"))
    ]
    assert files == [Path("dxlthreateventclient/_version.py")]
