"""Targets of the Makefile on every supported Python, and with the oldest dependencies: ``nox``."""

import shutil
import subprocess
from pathlib import Path

import nox

# 3.14 runs if it is installed; the metadata does not claim it yet.
SUPPORTED = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def _runs(version: str) -> bool:
    # A shim of pyenv runs only if pyenv is set to use that version.
    python = shutil.which(f"python{version}") or "false"
    return subprocess.run([python, "--version"], check=False, capture_output=True).returncode == 0  # noqa: S603


PYTHONS = [version for version in SUPPORTED if _runs(version)]

nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"


def _make(session: nox.Session, default: str) -> None:
    for target in session.posargs or [default]:
        session.run("make", f"VENV={session.virtualenv.location}", target, external=True)


@nox.session(python=PYTHONS)
def make(session: nox.Session) -> None:
    """Run ``make test``, or other targets: ``nox --session make-3.13 -- check docs``."""
    _make(session, "test")


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run ``make test`` with the oldest version of everything that users install."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["testing"], *extras["samples"]]
    constraints = Path(session.create_tmp(), "constraints.txt")
    constraints.write_text("\n".join(requirements).replace(">=", "=="))
    session.env["PIP_CONSTRAINT"] = str(constraints.resolve())
    _make(session, "test")
