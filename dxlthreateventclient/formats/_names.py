"""Names that have parts: of files, processes, accounts and registry keys."""

import ntpath
import re
from typing import NamedTuple

from dxlthreateventclient.formats._vocabulary import HIVES

# A program with its arguments: what ends in one of these, or is followed by an option.
_PROGRAM = re.compile(
    r"(?P<program>.+?\.(?:exe|com|bat|cmd|ps1|scr|dll|msi|vbs|js)(?=\s|$)|.+?(?=\s(?:--?|/)\w)|.+)(?P<arguments>.*)",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED_PROGRAM = re.compile(r'"(?P<program>[^"]+)"(?P<arguments>.*)', re.DOTALL)


class Process(NamedTuple):
    """A process: the name of its program, the program's path, and the command line if there are arguments."""

    name: str
    executable: str | None
    command_line: str | None


class RegistryPath(NamedTuple):
    """A path in the Windows registry: that of the key, or of a value below it."""

    path: str
    hive: str | None
    key: str | None
    value: str | None

    @property
    def key_path(self) -> str:
        """The path of the key, with the hive as it was written."""
        return self.path[: -len(self.value)].rstrip("\\") if self.value else self.path


def split_path(path: str) -> tuple[str, str]:
    """Split the path of a file, of Windows or POSIX, into its directory and its name."""
    separators = "/" if path.startswith("/") else "\\/"
    start = max(path.rfind(separator) for separator in separators) + 1
    head = path[:start]
    directory = head.rstrip(separators)
    # What would be left of a root is none.
    return directory if directory and not directory.endswith(":") else head, path[start:]


def extension(name: str) -> str:
    """Return the extension of a file's name, without the dot."""
    return ntpath.splitext(name)[1].removeprefix(".")


def process(written: str) -> Process:
    """Take the name of a process apart, which may be a path with arguments behind it."""
    match = _QUOTED_PROGRAM.fullmatch(written) or _PROGRAM.fullmatch(written)
    program, arguments = (match["program"], match["arguments"]) if match else (written, "")
    name = split_path(program)[1] or program
    return Process(name, program if name != program else None, written if arguments else None)


def account(written: str | None) -> tuple[str | None, str | None]:
    """Split an account into its domain, if it has one, and its name. There may be two backslashes."""
    domain, _, name = (written or "").partition("\\")
    name = name.lstrip("\\")
    return (domain, name) if domain and name else (None, written)


def registry_path(written: str) -> RegistryPath | None:
    """Take the path of a registry key or value apart. Which of the two it is ePO does not say."""
    lower = written.lower()
    for start, hive in HIVES.items():
        if lower.startswith(start) and written[len(start) : len(start) + 1] in ("\\", ""):
            below = written[len(start) :].strip("\\")
            key, _, value = below.rpartition("\\")
            is_key = written.endswith("\\") or not key
            return RegistryPath(written, hive, (below if is_key else key) or None, None if is_key else value)
    return None
