"""A slow build that runs only once for all pytest processes."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist and a wheel from it, without build isolation, and return their directory."""
    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent  # shared by all processes
    built = directory / "dist"
    with (directory / "dist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(ROOT)]
            completed = subprocess.run(command, capture_output=True, text=True, check=False)
            assert completed.returncode == 0, completed.stdout + completed.stderr
    return built
