"""The wheel and the sdist, each installed in an empty environment, outside of this checkout."""

import os
import signal
import subprocess
import tarfile
import venv
from pathlib import Path

import pytest
from helpers import building
from helpers.sample_process import printed_threat_event, running_sample

import dxlthreateventclient

# pip downloads the dependencies.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["*.whl", "*.tar.gz"], ids=["wheel", "sdist"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an environment, in which the distribution is installed, and the unpacked sdist."""
    directory, built = tmp_path_factory.mktemp("installed"), building.distributions(tmp_path_factory)
    [distribution] = built.glob(request.param)
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    next(directory.glob("*/PKG-INFO")).parent.rename(directory / "sdist")
    venv.create(directory / "env", with_pip=True)
    subprocess.run(
        [directory / "env/bin/python", "-m", "pip", "install", "--quiet", f"{distribution}[testing]"],
        cwd=directory,
        check=True,
    )
    return directory


def run(installed: Path, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a program of the environment, without the variables of this Python."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    program, *arguments = command
    return subprocess.run(
        [installed / "env/bin" / program, *arguments],
        cwd=installed,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class TestInstalledPackage:
    def test_it_is_imported_from_the_environment(self, installed: Path) -> None:
        code = "import dxlthreateventclient; print(dxlthreateventclient.__file__)"
        assert run(installed, "python", "-c", code).stdout.startswith(str(installed / "env"))

    @pytest.mark.parametrize("command", ["python -m dxlthreateventclient", "dxlthreateventclient"])
    def test_it_prints_its_version(self, installed: Path, command: str) -> None:
        completed = run(installed, *command.split(), "--version")
        assert completed.stdout == f"dxlthreateventclient {dxlthreateventclient.__version__}\n"

    def test_the_demo_shows_events(self, installed: Path) -> None:
        completed = run(installed, "dxlthreateventclient", "demo", "--count", "2")
        assert completed.returncode == 0, completed.stderr
        assert completed.stdout.count("Threat event on topic: ") == 2

    def test_the_sample_of_the_sdist_prints_an_event(self, installed: Path) -> None:
        python, config_file = installed / "env/bin/python", installed / "fabric/dxlclient.config"
        fabric = subprocess.Popen(
            [python, "-m", "dxlthreateventclient", "fabric", "--directory", "fabric"],
            cwd=installed,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert fabric.stdout
        assert fabric.stdout.readline().startswith("A DXL fabric runs on")
        try:
            with running_sample(config_file, python, installed / "sdist") as sample:
                assert sample.stdout
                assert sample.stdout.readline() == "Waiting for threat events...\n"
                published = run(installed, "dxlthreateventclient", "publish", "--config", config_file)
                assert published.returncode == 0
                assert printed_threat_event(sample)["eventMessageType"] == "McAfee Common Event"
                sample.send_signal(signal.SIGINT)
                assert sample.wait(timeout=20) == 0
        finally:
            fabric.kill()
            fabric.communicate()
