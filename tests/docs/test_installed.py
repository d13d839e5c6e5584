"""The wheel and the sdist, each installed in an empty environment, outside of this checkout."""

import os
import signal
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest
from helpers.sample_process import printed_threat_event

import dxlthreateventclient

ROOT = Path(__file__).parents[2]

# pip downloads the dependencies.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=["*.whl", "*.tar.gz"], ids=["wheel", "sdist"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an environment, in which the distribution is installed, and the unpacked sdist."""
    directory = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", directory, ROOT], check=True, capture_output=True
    )
    [distribution] = directory.glob(request.param)
    [sdist] = directory.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    next(directory.glob("*/PKG-INFO")).parent.rename(directory / "sdist")
    venv.create(directory / "env", with_pip=True)
    subprocess.run(
        [directory / "env/bin/python", "-m", "pip", "install", "--quiet", f"{distribution}[testing,cli]"],
        cwd=directory,
        check=True,
    )
    return directory


def run(installed: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [installed / "env/bin/python", *arguments],
        cwd=installed,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_is_imported_from_the_environment(installed: Path) -> None:
    location = run(
        installed, "-c", "import dxlthreateventclient; print(dxlthreateventclient.__file__)"
    ).stdout
    assert location.startswith(str(installed / "env"))


def test_it_prints_its_version(installed: Path) -> None:
    for arguments in (
        ["-m", "dxlthreateventclient", "--version"],
        ["env/bin/dxlthreateventclient", "--version"],
    ):
        completed = run(installed, *arguments)
        assert completed.stdout == f"dxlthreateventclient {dxlthreateventclient.__version__}\n", (
            completed.stderr
        )


def test_the_demo_shows_events(installed: Path) -> None:
    completed = run(installed, "-m", "dxlthreateventclient", "demo", "--count", "2")
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.count("Threat event on topic: ") == 2


def test_the_sample_of_the_sdist_prints_an_event(installed: Path) -> None:
    fabric = subprocess.Popen(
        [
            installed / "env/bin/python",
            "-m",
            "dxlthreateventclient",
            "fabric",
            "--directory",
            installed / "fabric",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert fabric.stdout
    assert fabric.stdout.readline().startswith("A DXL fabric runs on")
    sample = subprocess.Popen(
        [
            installed / "env/bin/python",
            installed / "sdist/sample/basic/basic_threat_event_callback_example.py",
        ],
        env=os.environ | {"DXLCLIENT_CONFIG": str(installed / "fabric/dxlclient.config")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert sample.stdout
        assert sample.stdout.readline() == "Waiting for threat events...\n"
        publish = ("-m", "dxlthreateventclient", "publish", "--config", "fabric/dxlclient.config")
        assert run(installed, *publish).returncode == 0
        assert printed_threat_event(sample)["eventMessageType"] == "McAfee Common Event"
        sample.send_signal(signal.SIGINT)
        assert sample.wait(timeout=20) == 0
    finally:
        for process in (sample, fabric):
            process.kill()
            process.communicate()
