"""ePO's words for values, and what they mean to a SIEM. They are read in lower case.

Those of events, categories and actions are in ``_events.py`` and ``_words.py``.
"""

from typing import NamedTuple

NOTHING = frozenset({"", "none", "(none)", "null", "(null)", "_", "n/a", "-"})
"""The words that mean: no value."""

NAMELESS = frozenset(
    f"unknown{what}"
    for what in ("", " application", " file", " file name", " filename", " process", " program")
)
"""The words for a file or program without a name. A host may stand before them: ``WS-1|Unknown filename``."""


class Severity(NamedTuple):
    """A severity in a word, and on the scales of others."""

    name: str | None
    cef: int
    elastic: int | None
    ocsf: int


UNKNOWN_SEVERITY = Severity(None, 5, None, 0)
"""What stands for no number from 1 to 7. CEF has none for it: neither an alarm nor silence."""

SEVERITIES: dict[int | None, Severity] = {
    1: Severity("Alert", 10, 99, 5),
    2: Severity("Critical", 9, 99, 5),
    3: Severity("Warning", 7, 73, 4),
    4: Severity("Warning", 5, 47, 3),
    5: Severity("Notice", 3, 21, 2),
    6: Severity("Info", 1, 21, 1),
    7: Severity("Debug", 0, 21, 1),
}
"""By ePO's number. The words are those of Datadog's integration; the other scales are a choice."""


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
"""Parts of the names of operating systems, with the types of ECS and OCSF."""

TRANSPORTS = frozenset(
    {"tcp", "udp", "icmp", "icmpv6", "ipv6-icmp", "igmp", "sctp", "dccp", "gre", "esp", "ah"}
)
"""Protocols of layer 4, as opposed to the "HTTP" that ePO also calls a protocol."""

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
"""How the name of a registry key may begin, and the short name of that hive."""

FILE_DIGESTS = {"sc_evtFileMd5": "md5", "sc_evtFileSha1": "sha1", "sc_evtFileSha256": "sha256"}
"""Keys of ``otherData`` that hold digests of the target's file (application and change control)."""

PROCESS_DIGESTS = {"sc_evtProcessMd5": "md5", "sc_evtProcessSha1": "sha1", "sc_evtProcessSha256": "sha256"}
"""The same for the process that did it."""

_AGGREGATED = {"ipv4": "ip", "ipv6": "ip", "hostname": "hosts", "username": "user"}


def aggregate_of(key: str) -> str | None:
    """Return what ECS calls the values of an aggregate: ``ip``, ``hosts``, ``user`` or nothing."""
    if not key.startswith(("setOf", "listOf")):
        return None
    lower = key.lower()
    return next((kind for ending, kind in _AGGREGATED.items() if lower.endswith(ending)), None)
