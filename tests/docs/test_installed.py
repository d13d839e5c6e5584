"""The wheel and the sdist: their contents and their behavior in a fresh environment."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import building
from helpers.program import started
from helpers.samples import ROOT, printed_threat_event, running_sample

# Other packages that use dxlclient, with their requirements. The tests download all packages from PyPI.
FAMILY = ("dxltieclient==0.3.0", "dxlepoclient==0.2.2", "dxleposervice==0.2.0", "dxlbootstrap==0.2.2")
CHECKED = ("dxltieclient", "dxlepoclient", "dxleposervice", "program.py")
WRONG = """
from dxlclient import DxlClient
from dxlthreateventclient import CommonThreatEventClient

def receive(dxl_client: DxlClient) -> None:
    dxl_client.listen()
    CommonThreatEventClient(dxl_client).threat_event()
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return building.distributions(tmp_path_factory)


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(
    request: pytest.FixtureRequest, distributions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A directory with the unpacked sdist and an environment that contains the package.

    The environment contains either the wheel built from the sdist or the sdist in editable mode.
    """
    directory = tmp_path_factory.mktemp("installed")
    [wheel], [sdist] = map(str, distributions.glob("*.whl")), map(str, distributions.glob("*.tar.gz"))
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    next(directory.glob("*/PKG-INFO")).parent.rename(directory / "sdist")
    venv.create(directory / "env")
    what = {"wheel": wheel, "editable": "--editable=sdist"}[request.param]
    install = ["pip", "--python", "env/bin/python", "install", "--quiet", f"{what}[testing]"]
    subprocess.run([sys.executable, "-m", *install], cwd=directory, check=True)
    return directory


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a program, the sources of related packages, and an environment without type stubs."""
    directory = tmp_path_factory.mktemp("family")
    (directory / "program.py").write_text(WRONG)
    venv.create(directory / "bare")
    [site_packages] = directory.glob("bare/lib/*/site-packages")
    for target, packages in ((directory, FAMILY), (site_packages, ["dxlclient"])):
        download = ["pip", "install", "--quiet", "--no-deps", "--target", target, *packages]
        subprocess.run([sys.executable, "-m", *download], check=True)
    return directory


def run(installed: Path, *command: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a program from the environment, without inherited Python variables such as PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PY")}
    program, *arguments = command
    return subprocess.run(
        [installed / "env/bin" / program, *arguments],
        cwd=installed,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@functools.cache
def mypy(python: Path, directory: Path) -> set[str]:
    """Return the errors that mypy reports in strict mode, except those about missing type hints."""
    options = ["--strict", "--config-file=", "--ignore-missing-imports", "--allow-subclassing-any"]
    command = [sys.executable, "-m", "mypy", *options, f"--python-executable={python}", *CHECKED]
    completed = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert completed.stderr == ""
    return set(re.findall(r"^.+:\d+: error: .*$", completed.stdout, re.MULTILINE))


@functools.cache
def pyright(python: Path, directory: Path) -> set[str]:
    """Return the errors that pyright reports in standard mode, except those about missing modules."""
    settings = {"typeCheckingMode": "standard", "include": CHECKED, "reportMissingImports": False}
    (directory / "pyrightconfig.json").write_text(json.dumps(settings))
    options = [f"--project={directory}", f"--pythonpath={python}", "--level=error", "--outputjson"]
    command = [sys.executable, "-m", "basedpyright", *options]
    completed = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return {
        f"{Path(error['file']).name}:{error['range']['start']['line'] + 1}: {error['message']}"
        for error in json.loads(completed.stdout)["generalDiagnostics"]
    }


@pytest.mark.slow
class TestDistributions:
    def test_the_wheel_holds_the_package_and_the_stubs(self, distributions: Path) -> None:
        [wheel] = distributions.glob("*.whl")
        names = set(zipfile.ZipFile(wheel).namelist())
        modules = {str(file.relative_to(ROOT)) for file in (ROOT / "dxlthreateventclient").rglob("*.py")}
        stubs = {str(file.relative_to(ROOT)) for file in (ROOT / "dxlclient-stubs").iterdir()}
        assert modules | stubs | {"dxlthreateventclient/py.typed", "pytest_dxlthreateventclient.py"} == {
            name for name in names if ".dist-info/" not in name
        }
        assert any(name.endswith("licenses/LICENSE") for name in names)

    def test_the_sdist_holds_everything_that_git_tracks(self, distributions: Path) -> None:
        [sdist] = distributions.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
        tracked = {name for name in listed.stdout.splitlines() if not name.startswith(".")}
        assert tracked
        assert tracked <= names


@pytest.mark.slow  # pip downloads the dependencies
class TestInstalledPackage:
    def test_it_runs_from_where_it_was_installed(self, installed: Path) -> None:
        code = "import dxlthreateventclient; print(dxlthreateventclient.__file__)"
        assert run(installed, "python", "-c", code).stdout.startswith(f"{installed}/")

    def test_the_sample_of_the_sdist_prints_an_event(self, installed: Path) -> None:
        python, config_file = installed / "env/bin/python", installed / "fabric/dxlclient.config"
        program = installed / "env/bin/dxlthreateventclient"
        with started(program, "fabric", "--directory", config_file.parent) as fabric:
            assert fabric.stdout
            assert fabric.stdout.readline().startswith("A DXL fabric runs on")
            with running_sample(config_file, python, installed / "sdist") as sample:
                assert sample.stdout
                assert sample.stdout.readline() == "Waiting for threat events...\n"
                run(installed, "dxlthreateventclient", "publish", "--config", config_file)
                assert printed_threat_event(sample)["eventMessageType"] == "McAfee Common Event"
                sample.send_signal(signal.SIGINT)
                assert sample.wait(timeout=20) == 0

    @pytest.mark.parametrize("installed", ["wheel", "editable"], indirect=True)
    @pytest.mark.parametrize("checker", [mypy, pyright])
    def test_the_hints_are_found_and_right_for_others(
        self, installed: Path, family: Path, checker: Callable[[Path, Path], set[str]]
    ) -> None:
        """Type checkers find a program's invalid calls, but no new errors in packages that use dxlclient."""
        before, after = (
            checker(environment / "bin/python", family)
            for environment in (family / "bare", installed / "env")
        )
        found = {error for error in after if error.startswith("program.py:")}
        assert {error.split(":")[1] for error in found} == {"6", "7"}
        assert after - before - found == set()

    @pytest.mark.parametrize("installed", ["wheel"], indirect=True)
    @pytest.mark.parametrize("version", ["==6.2.5", ">=9"])
    def test_the_fixtures_work_with_the_pytest_of_others(
        self, installed: Path, tmp_path: Path, version: str
    ) -> None:
        """The fixtures work even if all optional parts of pytest are disabled."""
        download = ["pip", "install", "--quiet", f"--target={tmp_path}", f"pytest{version}"]
        subprocess.run([sys.executable, "-m", *download], check=True)
        (tmp_path / "test_it.py").write_text("def test_it(publish_and_wait): publish_and_wait()\n")
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        code = "from _pytest.config import default_plugins, essential_plugins as needed\n"
        code += "print(*({*default_plugins} - {*needed, 'python', 'terminal'}))"
        parts = run(installed, "python", "-c", code, PYTHONPATH=str(tmp_path)).stdout.split()
        assert "warnings" in parts
        for options in (["-W", "error"], [word for part in parts for word in ("-p", f"no:{part}")]):
            command = ["python", "-m", "pytest", "--strict-markers", *options, f"{tmp_path}/test_it.py"]
            completed = run(installed, *command, PYTHONPATH=str(tmp_path))
            assert "1 passed" in completed.stdout, completed.stdout + completed.stderr


@pytest.mark.slow
def test_the_stubs_promise_nothing_that_dxlclient_lacks() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "--concise", "--ignore-missing-stub", "dxlclient"]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stdout) == (0, ""), completed.stderr
