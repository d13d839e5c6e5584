"""The public API must not change by accident.

After an intended change, run: python tests/core/test_public_api.py > tests/core/public_api.txt
"""

import re
from collections.abc import Iterator
from pathlib import Path

import griffe

SNAPSHOT = Path(__file__).with_name("public_api.txt")
# The command line and the loggers are not part of the public API.
INTERNAL = {"__main__", "logger"}


def public_api() -> list[str]:
    package = griffe.load("dxlthreateventclient")
    assert isinstance(package, griffe.Module)
    return sorted(described(package))


def described(owner: griffe.Module | griffe.Class) -> Iterator[str]:
    # Include the members that a public class inherits from a private class.
    members = owner.all_members if isinstance(owner, griffe.Class) else owner.members
    for name, found in members.items():
        member = found.final_target if isinstance(found, griffe.Alias) and found.inherited else found
        path = f"{owner.path}.{name}"
        if name in INTERNAL or (name.startswith("_") and name != "__init__") or member.is_imported:
            continue
        if owner.exports is not None and name not in owner.exports and not member.is_module:
            continue
        if isinstance(member, griffe.Module | griffe.Class):
            if isinstance(member, griffe.Class):
                yield f"class {path}({', '.join(str(base) for base in member.bases)})"
            yield from described(member)
        elif isinstance(member, griffe.Function):
            yield f"def {path.removesuffix(name)}{member.signature()}"
        elif isinstance(member, griffe.Attribute):
            yield f"{path}: {member.annotation or member.value}"


def test_the_public_api_is_the_one_on_record() -> None:
    assert public_api() == SNAPSHOT.read_text(encoding="utf-8").splitlines()


def test_every_public_name_has_a_docstring() -> None:
    package = griffe.load("dxlthreateventclient")
    undocumented = [
        line
        for line in public_api()
        if line.startswith(("class", "def"))
        and not package[re.split(r"[ (]", line)[1].partition(".")[2]].has_docstring
    ]
    assert [line for line in undocumented if ".__init__(" not in line] == []


if __name__ == "__main__":
    print(*public_api(), sep="\n")
