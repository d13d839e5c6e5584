"""What ePO says: its words, codes and numbers, and what they mean to a SIEM.

All that is known of ePO's vocabulary is in the tables here. They are read in lower case.
"""

from typing import NamedTuple

NOTHING = frozenset({"", "none", "(none)", "null", "(null)", "_", "n/a", "-"})
"""The words that mean: no value."""


class Severity(NamedTuple):
    """A severity on the scales of others."""

    cef: int
    elastic: int | None
    ocsf: int


UNKNOWN_SEVERITY = Severity(5, None, 0)
"""What stands for no number from 1 to 7. CEF has none for it: neither an alarm nor silence."""

SEVERITIES: dict[int | None, Severity] = {
    1: Severity(10, 99, 5),
    2: Severity(9, 99, 5),
    3: Severity(7, 73, 4),
    4: Severity(5, 47, 3),
    5: Severity(3, 21, 2),
    6: Severity(1, 21, 1),
    7: Severity(0, 21, 1),
}
"""By ePO's number. Its own word for 2 is "Critical"; the rest is a choice, since nobody publishes another."""


class Action(NamedTuple):
    """What a product did, in the words of ECS (``event.type``) and the numbers of OCSF."""

    decision: str
    file: str
    action_id: int
    disposition_id: int


_BLOCKED = Action("denied", "info", 2, 2)
_DELETED = Action("denied", "deletion", 2, 5)
_MOVED = Action("denied", "change", 2, 3)
_CONTAINED = Action("denied", "info", 2, 4)
_CLEANED = Action("info", "change", 4, 11)
_DELAYED = Action("info", "info", 4, 14)
_ALLOWED = Action("allowed", "info", 1, 1)
_WOULD = Action("allowed", "info", 3, 15)
_OBSERVED = Action("info", "info", 3, 15)
_NOTHING_DONE = Action("info", "info", 3, 16)
UNKNOWN_ACTION = Action("info", "info", 99, 99)

_ACTION_CODES = {
    "none": _NOTHING_DONE,
    "ids_alert_act_tak_blo": _BLOCKED,
    "ids_alert_act_tak_cle": _CLEANED,
    # Read as "continue scanning" by some, as a block by others.
    "ids_alert_act_tak_cont": UNKNOWN_ACTION,
    "ids_alert_act_tak_del": _DELETED,
    "ids_alert_act_tak_den": _BLOCKED,
    "ids_alert_act_tak_mov": _MOVED,
    "ids_alert_act_tak_wbd": _DELAYED,
    "ids_threat_actn_obsrvd": _OBSERVED,
}
# The first that is part of the action counts.
_ACTION_WORDS = (
    ("would", _WOULD),
    ("fail", UNKNOWN_ACTION),
    ("not block", _ALLOWED),
    ("unblock", _ALLOWED),
    ("not allow", _BLOCKED),
    ("disallow", _BLOCKED),
    ("not permit", _BLOCKED),
    ("not ", UNKNOWN_ACTION),
    ("block", _BLOCKED),
    ("denied", _BLOCKED),
    ("deny", _BLOCKED),
    ("allow", _ALLOWED),
    ("permit", _ALLOWED),
    ("delet", _DELETED),
    ("quarantin", _MOVED),
    ("moved", _MOVED),
    ("clean", _CLEANED),
    ("repair", _CLEANED),
    ("contain", _CONTAINED),
    ("observ", _OBSERVED),
)


def action_of(word: str) -> Action:
    """Return what an action means by its word or code."""
    lower = word.lower()
    known = _ACTION_CODES.get(lower)
    return known or next((action for part, action in _ACTION_WORDS if part in lower), UNKNOWN_ACTION)


_MALWARE = ("malware",)
_INTRUSION = ("intrusion_detection",)
_NETWORK = ("network",)
_NETWORK_INTRUSION = _INTRUSION + _NETWORK

# By parts of the category and the threat type, each with a space before and behind it.
_CATEGORY_WORDS = (
    (" av.", _MALWARE),
    ("malware", _MALWARE),
    ("virus", _MALWARE),
    ("trojan", _MALWARE),
    ("ransom", _MALWARE),
    ("spyware", _MALWARE),
    ("unwanted program", _MALWARE),
    (" hip.", _INTRUSION),
    (" hip.file", ("file",)),
    (" hip.nips", _NETWORK),
    (" hip.process", ("process",)),
    (" hip.registry", ("registry",)),
    (" fw.intrusion", _NETWORK_INTRUSION),
    (" fw.", _NETWORK),
    (" ops.fw.", _NETWORK),
    ("firewall", _NETWORK),
    ("network intrusion", _NETWORK),
    ("intrusion", _INTRUSION),
    ("exploit", _INTRUSION),
    ("overflow", _INTRUSION),
    (" ips ", _INTRUSION),
    (" ids_threat_type_value_bop ", _INTRUSION),
    (" ids_threat_type_value_nips ", _NETWORK_INTRUSION),
    (" ids_threat_type_value_sp ", _INTRUSION),
    (" ids_fw_threat_type_traffic ", _NETWORK),
    (" ids_fw_threat_type_intrusion ", _NETWORK_INTRUSION),
)
# By the event's number, for servers whose words are of another language.
_CATEGORY_NUMBERS = {
    "1027": _MALWARE,
    "1278": _MALWARE,
    "1092": _INTRUSION,
    "18052": _INTRUSION,
    "18059": _NETWORK_INTRUSION,
    "18060": _INTRUSION,
    "35000": _NETWORK,
    "35001": _NETWORK_INTRUSION,
    "35002": _NETWORK,
    "35102": _MALWARE,
}
_FIREWALL_WORDS = (" fw.", " ops.fw.", "firewall", " ids_fw_")
_FIREWALL_NUMBERS = {"35000", "35001", "35002"}
# What Elastic's integration for ePO takes for no alert.
_OPERATIONAL_NUMBERS = {"18054", "35000", "35002"}


class Kind(NamedTuple):
    """What kind of event it is."""

    categories: list[str]
    is_firewall: bool
    is_operational: bool


def kind_of(category: str, threat_type: str, number: str) -> Kind:
    """Return the kind of an event by its category, its threat type and its number."""
    words = f" {category.lower()} {threat_type.lower()} "
    found = [category for part, categories in _CATEGORY_WORDS if part in words for category in categories]
    return Kind(
        categories=list(dict.fromkeys((*found, *_CATEGORY_NUMBERS.get(number, ())))),
        is_firewall=number in _FIREWALL_NUMBERS or any(part in words for part in _FIREWALL_WORDS),
        is_operational=number in _OPERATIONAL_NUMBERS or words.startswith((" ops.", " ops ")),
    )


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
