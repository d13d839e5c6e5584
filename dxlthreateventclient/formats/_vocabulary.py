"""The words that ePO uses for values (in lower case) and their equivalents in SIEMs.

``_events.py`` and ``_words.py`` contain the vocabulary for events, categories and actions.
"""

from typing import NamedTuple

NOTHING = frozenset({"", "none", "(none)", "null", "(null)", "_", "n/a", "-"})
"""The words for "no value"."""

NAMELESS = frozenset(
    f"unknown{what}"
    for what in ("", " application", " file", " file name", " filename", " process", " program")
)
"""The words for a missing file or program name. A host may precede them: ``WS-1|Unknown filename``."""


class Severity(NamedTuple):
    """A severity, as a word and as a number on each format's scale."""

    name: str | None
    cef: int
    elastic: int | None
    ocsf: int


UNKNOWN_SEVERITY = Severity(None, 5, None, 0)
"""The severity of all other numbers. CEF requires a number, and 5 is a medium severity."""

SEVERITIES: dict[int | None, Severity] = {
    1: Severity("Alert", 10, 99, 5),
    2: Severity("Critical", 9, 99, 5),
    3: Severity("Warning", 7, 73, 4),
    4: Severity("Warning", 5, 47, 3),
    5: Severity("Notice", 3, 21, 2),
    6: Severity("Info", 1, 21, 1),
    7: Severity("Debug", 0, 21, 1),
}
"""Severities by ePO's number. The words are those of Datadog. We chose the values on the other scales."""


OPERATING_SYSTEMS = (
    ("windows", "windows", 100),
    ("macos", "macos", 300),
    ("mac os", "macos", 300),
    ("os x", "macos", 300),
    ("linux", "linux", 200),
    ("ubuntu", "linux", 200),
    ("debian", "linux", 200),
    ("centos", "linux", 200),
    ("red hat", "linux", 200),
    ("suse", "linux", 200),
)
"""Parts of operating system names, with their types in ECS and OCSF."""

TRANSPORTS = frozenset(
    {"tcp", "udp", "icmp", "icmpv6", "ipv6-icmp", "igmp", "sctp", "dccp", "gre", "esp", "ah"}
)
"""Transport protocols. ePO also reports application protocols such as "HTTP"."""

HIVES = {
    "hklm": "HKLM",
    "hkey_local_machine": "HKLM",
    "hkcu": "HKCU",
    "hkey_current_user": "HKCU",
    "hkcr": "HKCR",
    "hkey_classes_root": "HKCR",
    "hku": "HKU",
    "hkey_users": "HKU",
    "hkcc": "HKCC",
    "hkey_current_config": "HKCC",
    "\\registry\\machine": "HKLM",
    "\\registry\\user": "HKU",
}
"""Prefixes of registry keys, with the short name of the hive."""

FILE_DIGESTS = {"sc_evtFileMd5": "md5", "sc_evtFileSha1": "sha1", "sc_evtFileSha256": "sha256"}
"""Keys of ``otherData`` with digests of the target's file (application and change control)."""

PROCESS_DIGESTS = {"sc_evtProcessMd5": "md5", "sc_evtProcessSha1": "sha1", "sc_evtProcessSha256": "sha256"}
"""Keys of ``otherData`` with digests of the acting process."""

_AGGREGATED = {"ipv4": "ip", "ipv6": "ip", "hostname": "hosts", "username": "user"}


def aggregate_of(key: str) -> str | None:
    """Return the ECS name for an aggregate's values (``ip``, ``hosts`` or ``user``), or ``None``."""
    if not key.startswith(("setOf", "listOf")):
        return None
    lower = key.lower()
    return next((kind for ending, kind in _AGGREGATED.items() if lower.endswith(ending)), None)
