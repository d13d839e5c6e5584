"""Runs Makefile targets with every supported Python version and with the oldest dependencies."""

import shutil
import subprocess
from pathlib import Path

import nox

# Use Python 3.14 if it is installed, even though the package metadata does not list it yet.
SUPPORTED = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def _runs(version: str) -> bool:
    # Run the interpreter to check that it works, because pyenv has shims even for inactive versions.
    python = shutil.which(f"python{version}") or "false"
    return subprocess.run([python, "--version"], check=False, capture_output=True).returncode == 0  # noqa: S603


PYTHONS = [version for version in SUPPORTED if _runs(version)]

nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"


def _test(session: nox.Session, extras: str, *folders: str) -> None:
    session.install("--no-compile", "--editable", f".[{extras}]")
    session.run("python", "-m", "pytest", "--numprocesses", "auto", "--dist", "worksteal", *folders)


@nox.session(python=PYTHONS)
def make(session: nox.Session) -> None:
    """Run ``make test``, or the targets after ``--``, as in ``nox --session make-3.13 -- check docs``."""
    for target in session.posargs or ["test"]:
        session.run("make", f"VENV={session.virtualenv.location}", target, external=True)


@nox.session(python=PYTHONS)
def core(session: nox.Session) -> None:
    """Run the core tests without the ``fast`` extra."""
    _test(session, "test", "tests/core")


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run tests with the oldest supported version of each package in the extras."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["testing"], *extras["samples"]]
    constraints = Path(session.create_tmp(), "constraints.txt")
    constraints.write_text("\n".join(requirements).replace(">=", "=="))
    session.env["PIP_CONSTRAINT"] = str(constraints.resolve())
    _test(session, "test,samples", "tests/cli", "tests/samples", "tests/setup", "tests/testing")


@nox.session(python=PYTHONS[-1])
def neighbours(session: nox.Session) -> None:
    """Run the demo and the fixture tests with packages that modify Python, asyncio or pytest."""
    others = ["gevent", "uvloop", "pytest-asyncio", "pytest-randomly", "pytest-socket", "pytest-xdist"]
    session.install("--no-compile", "--upgrade", *others)
    session.install("--no-compile", "--editable", ".[test]")
    session.run("python", "-m", "pip", "check")
    limit = "import faulthandler, sys; faulthandler.dump_traceback_later(60, exit=True)"
    demo = "from dxlthreateventclient._cli import main; sys.exit(main(['demo', '--count', '2']))"
    for change in ("from gevent import monkey; monkey.patch_all()", "import uvloop; uvloop.install()"):
        session.run("python", "-c", f"{change}; {limit}; {demo}", silent=True)
    options = ["-m", "", "-n", "2", "--allow-hosts=127.0.0.1", "--allow-unix-socket"]
    session.run("python", "-m", "pytest", *options, "tests/testing/test_pytest_plugin.py")
