import re
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dxlthreateventclient.formats import to_cef
from dxlthreateventclient.testing import sample_threat_event

HOSTILE = "|=\\\n\r\t\0\x1b\x85\u2028\u202e\ud800 \"'%:;,{}ab1😀é"


BIDIRECTIONAL = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def parse(line: str) -> tuple[list[str], dict[str, str]]:
    """Parse a line as the CEF specification says: the seven fields of the header, and the extension."""
    header: list[str] = []
    field, characters = "", iter(line)
    for character in characters:
        if character == "\\":
            escaped = next(characters)
            assert escaped in "\\|"
            field += escaped
        elif character == "|":
            header.append(field)
            field = ""
            if len(header) == 7:
                break
        else:
            field += character
    text = "".join(characters)
    keys = list(re.finditer(r"(?:^| )([A-Za-z0-9]+)=", text))
    ends = [following.start() for following in keys[1:]] + [len(text)]
    return header, {key[1]: unescaped(text[key.end() : end]) for key, end in zip(keys, ends, strict=False)}


def unescaped(value: str) -> str:
    assert re.fullmatch(r"(?:[^\\=]|\\[\\=nr])*", value)
    return re.sub(r"\\(.)", lambda escape: {"n": "\n", "r": "\r"}.get(escape[1], escape[1]), value)


def is_harmful(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in BIDIRECTIONAL
        or character in "\u061c\u200e\u200f"
    )


def arrived(value: str, *, new_line: str = "\n") -> str:
    """Return what a receiver gets of a value."""
    value = value.strip().replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return "".join(
        new_line if c == "\n" else "\N{REPLACEMENT CHARACTER}" if is_harmful(c) else c for c in value
    )


def extension(**event: Any) -> dict[str, str]:
    return parse(to_cef({"event": event}))[1]


def test_the_header_names_the_product_and_the_event() -> None:
    header, _ = parse(to_cef(sample_threat_event()))
    assert header == [
        "CEF:0",
        "Trellix",
        "McAfee Endpoint Security",
        "10.5.0",
        "18052",
        "Buffer Overflow detected and blocked (GBOP)",
        "8",
    ]


def test_the_extension_holds_what_the_dictionary_of_cef_has_keys_for() -> None:
    threat_event = sample_threat_event(
        analyzer={"detectedUTC": "2016-12-13T22:18:34.120Z"},
        files=[{"name": "iexplore.exe", "hash": {"MD5": "A" * 32, "SHA-1": "b" * 40}}],
        source={
            "hostName": "ATTACKER",
            "ipv4": "10.0.9.77",
            "mac": "aa:bb:cc:dd:ee:ff",
            "port": "50814",
            "processName": "evil.exe",
            "url": "http://malware.example/?a=b",
            "userName": "CORP\\mallory",
        },
        target={"mac": "00-11-22-33-44-66", "port": 443, "protocol": "TCP"},
    )
    _, fields = parse(to_cef(threat_event))
    assert fields == {
        "act": "blocked",
        "cat": "Host intrusion buffer overflow",
        "cnt": "1",
        "cs1": "ExP:Heap",
        "cs1Label": "Threat Name",
        "cs2": "Exploit Prevention",
        "cs2Label": "Threat Type",
        "cs3": "Exploit Prevention",
        "cs3Label": "Detection Method",
        "cs4": "Critical",
        "cs4Label": "Threat Severity",
        "cs5": "My Organization\\Workstations",
        "cs5Label": "System Tree Path",
        "cs6": "Send DXL Threat Event",
        "cs6Label": "Response Rule",
        "deviceExternalId": "11111111-2222-3333-4444-555555555555",
        "dhost": "WS-0117",
        "dmac": "00:11:22:33:44:66",
        "dproc": "IEXPLORE.EXE",
        "dpt": "443",
        "dst": "10.0.0.10",
        "duser": "CORP\\alice",
        "dvc": "10.0.0.10",
        "dvchost": "WS-0117",
        "dvcmac": "00:11:22:33:44:55",
        "externalId": "18052",
        "fileHash": "b" * 40,
        "filePath": "C:\\Program Files\\Internet Explorer\\IEXPLORE.EXE",
        "fname": "IEXPLORE.EXE",
        "msg": "Buffer Overflow detected and blocked (GBOP)",
        "outcome": "success",
        "proto": "TCP",
        "request": "http://malware.example/?a=b",
        "rt": "1481667514120",
        "shost": "ATTACKER",
        "smac": "AA:BB:CC:DD:EE:FF",
        "spt": "50814",
        "sproc": "evil.exe",
        "src": "10.0.9.77",
        "suser": "CORP\\mallory",
    }


@pytest.mark.parametrize(
    ("epo", "cef"),
    [(1, 10), (2, 8), (3, 7), (4, 5), (5, 3), (6, 2), (7, 0), ("2", 8), (2.0, 8)],
)
def test_the_severity_is_scaled_from_7_to_1_to_0_to_10(epo: Any, cef: Any) -> None:
    assert parse(to_cef({"event": {"threatSeverity": epo}}))[0][6] == str(cef)


@pytest.mark.parametrize("severity", [0, 8, -1, 10**30, True, None, "", "Critical", [2]])
def test_a_severity_that_is_none_of_epos_is_medium(severity: Any) -> None:
    assert parse(to_cef({"event": {"threatSeverity": severity}}))[0][6] == "5"


def test_an_empty_event_has_a_complete_header() -> None:
    assert to_cef({}) == "CEF:0|Trellix|ePolicy Orchestrator||unknown|Threat event|5|"


def test_the_name_is_that_of_the_threat_where_there_is_no_description() -> None:
    assert parse(to_cef({"event": {"threatName": "EICAR", "eventDesc": ""}}))[0][5] == "EICAR"


def test_pipes_are_escaped_in_the_header_and_not_in_the_extension() -> None:
    assert to_cef({"event": {"eventDesc": "a|b"}}).endswith(r"|a\|b|5|msg=a|b")


def test_equal_signs_are_escaped_in_the_extension_and_not_in_the_header() -> None:
    assert to_cef({"event": {"eventDesc": "a=b"}}).endswith(r"|a=b|5|msg=a\=b")


def test_backslashes_are_escaped_in_both() -> None:
    assert to_cef({"event": {"eventDesc": "a\\"}}).endswith(r"|a\\|5|msg=a\\")


def test_a_new_line_is_a_space_in_the_header_and_backslash_n_in_the_extension() -> None:
    assert to_cef({"event": {"eventDesc": "a\r\nb\nc"}}).endswith(r"|a b c|5|msg=a\nb\nc")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(HOSTILE, min_size=1), min_size=6, max_size=6))
@example(["a src=1.2.3.4", "b\\ cat=x", "c\nd", "| e |", "\0\x1b[31m", "😀\ud83d\ude00"])
def test_hostile_values_arrive_as_they_were_sent(values: Any) -> None:
    product, description, user, process, category, rule = values
    header, fields = parse(
        to_cef(
            {
                "event": {
                    "analyzer": {"name": product},
                    "eventDesc": description,
                    "source": {"userName": user, "processName": process},
                    "category": category,
                    "otherData": {"responseRuleName": rule},
                }
            }
        )
    )
    assert header[2] == arrived(product, new_line=" ") or not product.strip()
    assert header[5] == arrived(description, new_line=" ") or not description.strip()
    keys = ("msg", "suser", "sproc", "cat", "cs6")
    assert [fields.get(key, "") for key in keys] == [arrived(value) for value in values[1:]]


def test_an_ipv6_address_has_a_custom_key_with_its_label() -> None:
    fields = extension(source={"ipv4": "10.0.0.1", "ipv6": "2001:DB8::1"}, target={"ipv6": "fe80::1%3"})
    assert fields == {
        "src": "10.0.0.1",
        "c6a2": "2001:db8::1",
        "c6a2Label": "Source IPv6 Address",
        "c6a3": "fe80::1",
        "c6a3Label": "Destination IPv6 Address",
    }


@pytest.mark.parametrize("ipv6", ["10.0.0.16", "0:0:0:0:0:FFFF:0A00:0010"])
def test_an_ipv4_address_in_an_ipv6_field_is_that_ipv4(ipv6: Any) -> None:
    assert extension(analyzer={"ipv4": "", "ipv6": ipv6}) == {"dvc": "10.0.0.16"}


def test_a_protocol_above_the_transport_is_that_of_the_application() -> None:
    assert extension(target={"protocol": "HTTP"}) == {"app": "HTTP"}


def test_the_time_is_when_epo_received_the_event_if_nothing_says_when_it_was_detected() -> None:
    assert parse(to_cef({"_receivedUTC": "1970-01-01T00:00:00Z"}))[1] == {"rt": "0"}
    assert extension(_receivedUTC="1970-01-01T00:00:01Z", analyzer={"detectedUTC": "soon"}) == {"rt": "1000"}


def test_empty_unresolved_and_impossible_values_are_left_out() -> None:
    assert (
        extension(
            category="{category}",
            otherData={"threatSeverityString": "{threatSeverityString}", "count": "many"},
            source={
                "port": 0,
                "ipv4": "10.0.0.256",
                "mac": "00",
                "url": " ",
                "hostName": None,
                "userName": [],
            },
            target={"port": 65536},
            threatHandled="perhaps",
        )
        == {}
    )


def test_the_id_of_a_user_is_not_that_of_the_device() -> None:
    assert extension(entity={"id": "42", "type": "user"}) == {}
    assert extension(entity={"id": "42", "type": "device"}) == {"deviceExternalId": "42"}
