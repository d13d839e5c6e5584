"""The type hints of the installed wheel let mypy and pyright find exactly the mistakes in user code."""

import json
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import building

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python interpreter of an environment that contains only the wheel."""
    directory = tmp_path_factory.mktemp("typing")
    builder = venv.EnvBuilder(with_pip=False, symlinks=sys.platform != "win32")
    context = builder.ensure_directories(directory / "env")
    builder.create(directory / "env")
    [wheel] = building.distributions(tmp_path_factory).glob("*.whl")
    site_packages = subprocess.run(
        [context.env_exe, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    zipfile.ZipFile(wheel).extractall(site_packages)
    return Path(context.env_exe)


def checked(command: list[str | Path], directory: Path) -> str:
    completed = subprocess.run(
        [sys.executable, "-m", *command], cwd=directory, capture_output=True, text=True, check=False
    )
    assert completed.stderr == ""
    return str(completed.stdout)


def mypy(python: Path, program: str, directory: Path) -> dict[int, str]:
    """Return the errors by line."""
    output = checked(
        ["mypy", "--strict", "--config-file", "", "--python-executable", python, HERE / program], directory
    )
    found = re.findall(r"^[^:]+:(\d+): error: (.*)$", output, re.MULTILINE)
    return {int(line): message for line, message in found}


def pyright(python: Path, program: str, directory: Path) -> dict[int, str]:
    """Return pyright's standard-mode errors, keyed by line number."""
    settings = {"typeCheckingMode": "standard", "include": [str(HERE / program)]}
    (directory / "pyrightconfig.json").write_text(json.dumps(settings))
    output = checked(
        ["basedpyright", "--project", directory, "--pythonpath", python, "--level", "error", "--outputjson"],
        directory,
    )
    errors = json.loads(output)["generalDiagnostics"]
    return {error["range"]["start"]["line"] + 1: error["message"] for error in errors}


@pytest.mark.parametrize("checker", [mypy, pyright])
@pytest.mark.slow
class TestTypesForUsers:
    def test_a_right_program_passes(
        self, python: Path, tmp_path: Path, checker: Callable[[Path, str, Path], dict[int, str]]
    ) -> None:
        assert checker(python, "right.py", tmp_path) == {}

    def test_each_mistake_of_a_wrong_program_is_found(
        self, python: Path, tmp_path: Path, checker: Callable[[Path, str, Path], dict[int, str]]
    ) -> None:
        lines = (HERE / "wrong.py").read_text().splitlines()
        wrong = {number for number, line in enumerate(lines, start=1) if line.endswith("  # wrong")}
        assert set(checker(python, "wrong.py", tmp_path)) == wrong
        assert len(wrong) == 6
