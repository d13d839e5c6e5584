"""The library stays thin: who may import whom, and what an import loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dxlthreateventclient

PACKAGE = Path(dxlthreateventclient.__file__).parent
CORE = {"_version", "callbacks", "client", "errors", "other_data", "payload", "stream", "subscriptions"}

# What each module may import of this package.
ALLOWED: dict[str, set[str]] = {
    "__init__": {"_version", "callbacks", "client", "payload", "stream"},
    "_version": set(),
    "callbacks": {"errors", "payload"},
    "client": {"callbacks", "other_data", "payload", "stream", "subscriptions"},
    "configuration": set(),
    "constants": set(),
    "errors": {"payload"},
    "other_data": set(),
    "payload": set(),
    "stream": {"errors", "payload", "subscriptions"},
    "subscriptions": set(),
    "threat_event": set(),
    "formats": {"formats"},
    # On top: they may use everything.
    "__main__": {"cli"},
    "testing": CORE | {"testing"},
    "cli": CORE | {"cli", "configuration", "formats", "testing"},
}


def imported_modules(file: Path) -> set[str]:
    """The modules of this package, by their first name, that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("dxlthreateventclient.")}
    return found


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_a_module_imports_only_what_the_design_allows(file: Path) -> None:
    module = file.relative_to(PACKAGE).with_suffix("").parts[0]
    assert imported_modules(file) <= ALLOWED[module]


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
def test_an_import_loads_dxlclient_and_the_standard_library_only(statement: str) -> None:
    loaded = loaded_by(statement) - loaded_by("import dxlclient.client")
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
