"""What is in the wheel and in the sdist, built from this checkout."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import dxlthreateventclient

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, ROOT],
        check=True,
        capture_output=True,
        text=True,
    )
    return directory


def test_the_wheel_holds_the_package_its_type_marker_and_the_stubs_of_dxlclient(distributions: Path) -> None:
    [wheel] = distributions.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "dxlthreateventclient").rglob("*.py")}
    stubs = {f"dxlclient-stubs/{file.name}" for file in (ROOT / "stubs" / "dxlclient").iterdir()}
    assert modules | stubs | {"dxlthreateventclient/py.typed", "pytest_dxlthreateventclient.py"} == {
        name for name in names if ".dist-info/" not in name
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_holds_the_samples_the_docs_and_the_tests(distributions: Path) -> None:
    [sdist] = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(
        ["git", "ls-files", "sample", "docs", "tests", "dxlthreateventclient", "stubs", "benchmarks"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile"} <= names
    assert {"sample/common.py", "sample/dxlclient.config", "docs/conf.py", "tests/conftest.py"} <= names
    assert set(tracked) <= names


def test_the_version_has_one_home() -> None:
    """Nothing but ``_version.py`` says the version, so that nothing can say another one."""
    pattern = re.compile(rf"\b{re.escape(dxlthreateventclient.__version__)}\b")
    homes = [
        file.relative_to(ROOT)
        for file in [*ROOT.glob("*.toml"), *ROOT.glob("*.py"), *(ROOT / "dxlthreateventclient").rglob("*.py")]
        if pattern.search(file.read_text(encoding="utf-8"))
    ]
    assert homes == [Path("dxlthreateventclient/_version.py")]
