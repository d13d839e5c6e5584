"""Splits the names of files, processes, accounts and registry keys into their parts."""

import ntpath
import re
from typing import NamedTuple

from dxlthreateventclient.formats._vocabulary import HIVES

# A program with its arguments. The program's name ends after one of these extensions or before the first
# option.
_PROGRAM = re.compile(
    r"(?P<program>.+?\.(?:exe|com|bat|cmd|ps1|scr|dll|msi|vbs|js)(?=\s|$)|.+?(?=\s(?:--?|/)\w)|.+)(?P<arguments>.*)",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED_PROGRAM = re.compile(r'"(?P<program>[^"]+)"(?P<arguments>.*)', re.DOTALL)


class Process(NamedTuple):
    """A process: its name, its path, and its command line if it has arguments."""

    name: str
    executable: str | None
    command_line: str | None


class RegistryPath(NamedTuple):
    """The path of a key or a value in the Windows registry."""

    path: str
    hive: str | None
    key: str | None
    value: str | None

    @property
    def key_path(self) -> str:
        """The key's path, with the hive in its original spelling."""
        return self.path[: -len(self.value)].rstrip("\\") if self.value else self.path


def split_path(path: str) -> tuple[str, str]:
    """Split a Windows or POSIX path into its directory and its file name."""
    separators = "/" if path.startswith("/") else "\\/"
    start = max(path.rfind(separator) for separator in separators) + 1
    head = path[:start]
    directory = head.rstrip(separators)
    # Keep a root directory's trailing separator.
    return directory if directory and not directory.endswith(":") else head, path[start:]


def extension(name: str) -> str:
    """Return a file name's extension, without the dot."""
    return ntpath.splitext(name)[1].removeprefix(".")


def process(written: str) -> Process:
    """Split a process name, which may include a path and arguments, into its parts."""
    match = _QUOTED_PROGRAM.fullmatch(written) or _PROGRAM.fullmatch(written)
    program, arguments = (match["program"], match["arguments"]) if match else (written, "")
    name = split_path(program)[1] or program
    return Process(name, program if name != program else None, written if arguments else None)


def account(written: str | None) -> tuple[str | None, str | None]:
    """Split an account into its domain, if any, and its name. One or two backslashes separate the parts."""
    domain, _, name = (written or "").partition("\\")
    name = name.lstrip("\\")
    return (domain, name) if domain and name else (None, written)


def registry_path(written: str) -> RegistryPath | None:
    """Split the path of a registry key or value."""
    lower = written.lower()
    for start, hive in HIVES.items():
        if lower.startswith(start) and written[len(start) : len(start) + 1] in ("\\", ""):
            below = written[len(start) :].strip("\\")
            key, _, value = below.rpartition("\\")
            is_key = written.endswith("\\") or not key
            return RegistryPath(written, hive, (below if is_key else key) or None, None if is_key else value)
    return None
