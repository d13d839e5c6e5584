"""Slow builds, each run only once for all pytest processes."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the wheel and the sdist, built with the installed packages."""
    return _built("dist", ["build", "--no-isolation", "--outdir", "{}", str(ROOT)], tmp_path_factory)


def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the HTML documentation, built with warnings as errors."""
    options = ["-q", "-W", "--keep-going", "-b", "html"]
    return _built("site", ["sphinx", *options, str(ROOT / "docs"), "{}"], tmp_path_factory)


def _built(name: str, module: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent  # shared by all processes
    built = directory / name
    with (directory / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            command = [sys.executable, "-m", *(str(built) if word == "{}" else word for word in module)]
            completed = subprocess.run(command, capture_output=True, text=True, check=False)
            assert completed.returncode == 0, completed.stdout + completed.stderr
    return built
