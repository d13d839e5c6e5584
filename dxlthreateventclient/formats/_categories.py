"""ECS's allowed values for ``event.category`` and ``event.type``, from what ePO says in words."""

import re

from dxlthreateventclient.formats._message import Message
from dxlthreateventclient.formats._values import port, text

_MALWARE = re.compile(r"malware|virus|trojan|ransom|spyware|unwanted program|\bav\.", re.IGNORECASE)
_INTRUSION = re.compile(r"intrusion|exploit|overflow|firewall|\bhip\.|\bips\b", re.IGNORECASE)

_ALLOWED = re.compile("(?<!not )(?<!dis)(?:allow|permit)|would|not block|unblock", re.IGNORECASE)
_DENIED = re.compile("block|deny|denied|(?:not |dis)(?:allow|permit)", re.IGNORECASE)
_DELETED = re.compile("delete|_DEL$", re.IGNORECASE)


def categories_and_types(message: Message) -> tuple[list[str], list[str]]:
    """Return the categories of an event, and the types: for each category the one that says most.

    ``info`` is allowed with every category, the others are with the one that they are chosen for.
    """
    words = " ".join(message.get(path, text) or "" for path in ("category", "threatType"))
    action = message.get("threatActionTaken", text) or ""
    types = {}
    if _MALWARE.search(words):
        types["malware"] = "info"
    if _INTRUSION.search(words):
        allowed, denied = _ALLOWED.search(action), _DENIED.search(action)
        types["intrusion_detection"] = "allowed" if allowed else "denied" if denied else "info"
    if message.get("target.fileName", text) or message.files():
        types["file"] = "deletion" if _DELETED.search(action) else "info"
    if message.get("target.protocol", text) or any(
        message.get(f"{role}.port", port) for role in ("source", "target")
    ):
        types["network"] = "info"
    types = types or {"host": "info"}
    return list(types), list(dict.fromkeys(types.values()))
