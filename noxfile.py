"""Every supported Python, and the oldest and newest versions of what we depend on: ``nox``."""

import re
import shutil

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
# 3.14 is tried where there is one, and not yet claimed in the metadata.
PYTHONS += ["3.14"] if shutil.which("python3.14") else []
OLDEST, NEWEST = PYTHONS[0], PYTHONS[-1]

nox.options.sessions = ["units", "tests", "lowest", "check", "docs", "build", "bench_smoke"]
nox.options.error_on_missing_interpreters = True


def _lowest_versions() -> list[str]:
    """Pin everything that users install to the oldest version that the metadata allows."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["testing"], *extras["cli"], *extras["samples"]]
    return [re.sub(r">=", "==", requirement) for requirement in requirements]


@nox.session(python=PYTHONS)
def units(session: nox.Session) -> None:
    """Run the unit tests."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/unit", *session.posargs)


@nox.session(python=[OLDEST, NEWEST])
def tests(session: nox.Session) -> None:
    """Run the tests that need Python alone, with the newest versions of all dependencies."""
    session.install("--upgrade", "--upgrade-strategy", "eager", "-e", ".[dev]")
    session.run("pytest", *session.posargs)


@nox.session(python=OLDEST)
def lowest(session: nox.Session) -> None:
    """Run them with the oldest versions of all dependencies that the metadata allows."""
    session.install("-e", ".[dev]", *_lowest_versions())
    session.run("pytest", *session.posargs)


@nox.session(python=NEWEST)
def servers(session: nox.Session) -> None:
    """Run the tests that need mosquitto, redis-server and rsyslogd."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-m", "servers and not slow", *session.posargs)


@nox.session(python=NEWEST)
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes; they need mosquitto."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session(python=[OLDEST, NEWEST])
def check(session: nox.Session) -> None:
    """Lint, formatting and types."""
    session.install("-e", ".[dev]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("codespell")
    session.run("mypy")


@nox.session(python=NEWEST)
def docs(session: nox.Session) -> None:
    """Build the documentation, with warnings as errors."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session(python=NEWEST)
def build(session: nox.Session) -> None:
    """Build the sdist and the wheel, and check them."""
    session.install("build", "twine", "check-wheel-contents", "validate-pyproject[all]")
    distributions = session.create_tmp()
    session.run("validate-pyproject", "pyproject.toml")
    session.run("python", "-m", "build", "--outdir", distributions)
    session.run("bash", "-c", f"twine check --strict {distributions}/*", external=True)
    session.run("bash", "-c", f"check-wheel-contents {distributions}/*.whl", external=True)


@nox.session(python=NEWEST)
def bench_smoke(session: nox.Session) -> None:
    """See that the benchmarks run, and nothing of how fast."""
    session.install("-e", ".[testing]")
    session.run("python", "benchmarks/bench.py", "--rounds", "1", "--latency-seconds", "1")
