"""Every supported Python on this machine, and the oldest and newest dependencies: ``nox``."""

import shutil
import subprocess

import nox

# 3.14 is tried where there is one, and not yet claimed in the metadata.
SUPPORTED = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def _runs(version: str) -> bool:
    # pyenv has a shim for each version that it has, which runs only if pyenv was told to use that version.
    python = shutil.which(f"python{version}") or "false"
    return subprocess.run([python, "--version"], check=False, capture_output=True).returncode == 0  # noqa: S603


PYTHONS = [version for version in SUPPORTED if _runs(version)]
OLDEST_AND_NEWEST = list(dict.fromkeys([PYTHONS[0], PYTHONS[-1]]))

PARALLEL = ["--numprocesses", "auto"]

nox.options.sessions = ["units", "tests", "lowest", "check", "docs", "build", "bench_smoke"]
nox.options.error_on_missing_interpreters = True


def _lowest_versions() -> list[str]:
    """Pin everything that users install to the oldest version that the metadata allows."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["testing"], *extras["cli"], *extras["samples"]]
    return [requirement.replace(">=", "==") for requirement in requirements]


@nox.session(python=PYTHONS)
def units(session: nox.Session) -> None:
    """Run the unit tests."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/core", "tests/formats", *session.posargs)


@nox.session(python=OLDEST_AND_NEWEST)
def tests(session: nox.Session) -> None:
    """Run the tests that need Python alone, with the newest versions of all dependencies."""
    session.install("--upgrade", "--upgrade-strategy", "eager", "-e", ".[dev]")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(python=OLDEST_AND_NEWEST)
def coverage(session: nox.Session) -> None:
    """Run the same tests, and fail if they cover too little of the library."""
    session.install("--upgrade", "--upgrade-strategy", "eager", "-e", ".[dev]")
    session.env["COVERAGE_FILE"] = f"{session.create_tmp()}/coverage"
    session.run("coverage", "run", "-m", "pytest", *PARALLEL)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run them with the oldest versions of all dependencies that the metadata allows."""
    session.install("-e", ".[dev]", *_lowest_versions())
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(python=OLDEST_AND_NEWEST)
def servers(session: nox.Session) -> None:
    """Run the tests that need mosquitto, redis-server and rsyslogd."""
    session.install("-e", ".[dev]")
    session.run("pytest", *PARALLEL, "--dist", "loadfile", "-m", "servers and not slow", *session.posargs)


@nox.session(python=OLDEST_AND_NEWEST)
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes; they need mosquitto."""
    session.install("-e", ".[dev]")
    session.run("pytest", *PARALLEL, "--dist", "loadfile", "-m", "slow", *session.posargs)


@nox.session(python=OLDEST_AND_NEWEST)
def check(session: nox.Session) -> None:
    """Lint, formatting, spelling and types."""
    session.install("-e", ".[dev]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("codespell")
    session.run("mypy")


@nox.session(python=OLDEST_AND_NEWEST)
def docs(session: nox.Session) -> None:
    """Build the documentation, with warnings as errors."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session(python=OLDEST_AND_NEWEST)
def build(session: nox.Session) -> None:
    """Build the sdist and the wheel, and check them."""
    session.install("-e", ".[dev]")
    distributions = session.create_tmp()
    session.run("validate-pyproject", "pyproject.toml")
    session.run("python", "-m", "build", "--outdir", distributions)
    session.run("bash", "-c", f"twine check --strict {distributions}/*", external=True)
    session.run("bash", "-c", f"check-wheel-contents {distributions}/*.whl", external=True)


@nox.session(python=OLDEST_AND_NEWEST)
def bench_smoke(session: nox.Session) -> None:
    """See that the benchmarks run, and nothing of how fast."""
    session.install("-e", ".[testing]")
    results = f"{session.create_tmp()}/results.json"
    session.run(
        "python", "benchmarks/bench.py", "--rounds", "1", "--latency-seconds", "1", "--output", results
    )
