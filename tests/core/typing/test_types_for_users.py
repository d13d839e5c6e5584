"""Type hints, as a user's own mypy in strict mode sees them: from the installed wheel."""

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds this wheel and nothing else."""
    directory = tmp_path_factory.mktemp("typing")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, HERE.parents[2]],
        check=True,
        capture_output=True,
    )
    builder = venv.EnvBuilder(with_pip=False, symlinks=sys.platform != "win32")
    context = builder.ensure_directories(directory / "env")
    builder.create(directory / "env")
    [wheel] = directory.glob("*.whl")
    site_packages = subprocess.run(
        [context.env_exe, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    zipfile.ZipFile(wheel).extractall(site_packages)
    return Path(context.env_exe)


def mypy(python: Path, program: str, directory: Path) -> str:
    command: list[str | Path] = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary"]
    command += ["--python-executable", python, "--config-file", "", "--cache-dir", directory / "cache"]
    completed = subprocess.run(
        [*command, HERE / program], cwd=directory, capture_output=True, text=True, check=False
    )
    assert completed.stderr == ""
    return str(completed.stdout)


def test_a_right_program_passes_strict_mypy(python: Path, tmp_path: Path) -> None:
    assert mypy(python, "right.py", tmp_path) == ""


def test_each_mistake_of_a_wrong_program_is_found_and_nothing_else(python: Path, tmp_path: Path) -> None:
    expected = {
        (number, line.rpartition("# ")[2])
        for number, line in enumerate((HERE / "wrong.py").read_text().splitlines(), start=1)
        if re.search(r"  # [a-z-]+$", line)
    }
    found = re.findall(r"wrong\.py:(\d+): error: .*\[([a-z-]+)\]", mypy(python, "wrong.py", tmp_path))
    assert {(int(number), code) for number, code in found} == expected
    assert len(expected) == 6
