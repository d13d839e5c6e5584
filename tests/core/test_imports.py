"""The library stays thin: who may import whom, and what an import loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dxlthreateventclient

PACKAGE = Path(dxlthreateventclient.__file__).parent

# What each module may import of this package. A name that ends in a dot stands for all modules of that room.
ALLOWED = {
    name: set(imports.split())
    for name, _, imports in (
        line.partition(":")
        for line in """\
__init__: _startup _version async_stream callbacks client configuration connection exceptions redundancy \
status stream
__main__: _cli
_buffer:
_certificates: exceptions
_dxlclient:
_feed: _dxlclient _mqtt status
_helper: _dxlclient _feed
_mqtt: _dxlclient _reconnecting
_probe: _certificates configuration exceptions
_reconnecting: _dxlclient
_registration: _feed
_startup:
_stream: _buffer _registration callbacks exceptions payload
_subscriptions: _dxlclient _feed _helper _registration status
_version:
async_stream: _buffer _feed _stream
callbacks: exceptions payload
client: _registration _stream _subscriptions async_stream callbacks exceptions other_data status stream
configuration: _certificates exceptions
connection: _dxlclient _probe configuration exceptions
constants:
exceptions:
formats.: formats.
other_data:
payload: exceptions
redundancy: callbacks client exceptions status stream
status:
stream: _buffer _stream
testing.: client testing.
threat_event:
""".splitlines()
    )
}


def imported_modules(file: Path) -> set[str]:
    """The modules of this package that a file imports, by their names below the package."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {module_name(name) for name in names if name.partition(".")[0] == "dxlthreateventclient"}
    return found


def module_name(name: str) -> str:
    """The module that an imported name is or belongs to, below the package: ``formats._values``."""
    parts = name.split(".")[1:]
    while parts and not (
        PACKAGE.joinpath(*parts).is_dir() or PACKAGE.joinpath(*parts).with_suffix(".py").exists()
    ):
        parts.pop()
    return ".".join(parts) or "__init__"


CORE = [file for file in sorted(PACKAGE.rglob("*.py")) if "_cli" not in file.parts]


@pytest.mark.parametrize("file", CORE, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_imports_only_what_the_design_allows(file: Path) -> None:
    path = file.relative_to(PACKAGE).with_suffix("")
    allowed = ALLOWED[path.name if len(path.parts) == 1 else f"{path.parts[0]}."]
    # From another room, only what is not private to it.
    foreign = {
        f"{name.partition('.')[0]}." if f"{name.partition('.')[0]}." in ALLOWED else name
        for name in imported_modules(file)
    }
    assert foreign <= allowed


def loaded_by(statement: str) -> set[str]:
    """The top-level modules, other than those of the standard library, that a fresh interpreter loads."""
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
    """Nothing else but msgspec, if it is installed; here it is not."""
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
