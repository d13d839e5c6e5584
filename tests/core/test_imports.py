"""Checks which modules import each other and which packages an import loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dxlthreateventclient

PACKAGE = Path(dxlthreateventclient.__file__).parent

# The modules of this package that each subpackage ("room") or top-level module may import.
ALLOWED = {
    name: set(imports.split())
    for names, _, imports in (
        line.partition(":")
        for line in """\
_version constants exceptions other_data status threat_event:
__init__: _version callbacks client configuration connection exceptions redundancy status streams
__main__: _cli __init__
_feed: _feed status
_setup: _setup exceptions
callbacks: exceptions payload
client: _feed callbacks exceptions other_data status streams
configuration: _setup exceptions
connection: _feed _setup exceptions
formats: formats
payload: exceptions
redundancy: _feed callbacks client exceptions status streams
streams: _feed callbacks exceptions payload
testing: client testing
""".splitlines()
    )
    for name in names.split()
}


def imported_names(file: Path) -> set[str]:
    """Return the names that a file imports from this package."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name for name in names if name.partition(".")[0] == "dxlthreateventclient"}
    return found


def room_of(name: str) -> str:
    """Return a name's subpackage or top-level module, such as ``formats`` for ``formats._values``."""
    first = name.split(".")[1:2] or ["__init__"]
    return first[0] if first[0] in ALLOWED else "__init__"


CORE = [file for file in sorted(PACKAGE.rglob("*.py")) if "_cli" not in file.parts]


@pytest.mark.parametrize("file", CORE, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_imports_only_what_the_design_allows(file: Path) -> None:
    room = file.relative_to(PACKAGE).with_suffix("").parts[0]
    assert {room_of(name) for name in imported_names(file)} <= ALLOWED[room]


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules outside the standard library that a statement loads."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    output = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout
    return set(output.split()) - sys.stdlib_module_names


@pytest.mark.parametrize(
    "statement",
    [
        "import dxlthreateventclient",
        "import dxlthreateventclient.formats, dxlthreateventclient.configuration",
        "from dxlthreateventclient.testing import sample_threat_event, publish_threat_event",
    ],
)
def test_an_import_loads_dxlclient_and_nothing_else(statement: str) -> None:
    """This test hides msgspec, which the package loads if available."""
    without_fast = "sys.modules['msgspec'] = None"
    loaded = loaded_by(f"{without_fast}; {statement}") - loaded_by(f"{without_fast}; import dxlclient.client")
    assert loaded == {"dxlthreateventclient"}


def test_a_missing_extra_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['amqtt'] = None\n"
        "from dxlthreateventclient.testing import sample_threat_event\n"
        "try:\n    from dxlthreateventclient.testing import LocalFabric\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'dxlthreateventclient[testing]'" in output
