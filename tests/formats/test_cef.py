import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers.corpus import COMPLETE
from helpers.schemas import is_harmless
from hypothesis import example, given
from hypothesis import strategies as st

from dxlthreateventclient.formats import to_cef
from dxlthreateventclient.testing import sample_threat_event

HOSTILE = "|=\\\n\r\t\0\x1b\x85\u2028\u202e\ud800 \"'%:;,{}ab1😀é"


def parse(line: str) -> tuple[list[str], dict[str, str]]:
    """Parse a line according to the CEF specification. Return the seven header fields and the extension."""
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


def arrived(value: str, *, new_line: str = "\n") -> str:
    """Return a value as a receiver sees it."""
    value = value.strip().replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return "".join(
        new_line if c == "\n" else c if is_harmless(c) else "\N{REPLACEMENT CHARACTER}" for c in value
    )


def extension(**event: Any) -> dict[str, str]:
    return parse(to_cef({"event": event}))[1]


EVENT_ID = "{a0bd5ca5-5d42-413b-8ce4-eff57935e772}"
WHOLE = (
    "CEF:0|Trellix|McAfee Endpoint Security|10.5.0|18052|Buffer Overflow detected and blocked (GBOP)|9|"
    "rt=1772444451000 dvchost=WS-0117 dvcmac=00:11:22:33:44:55 dvc=10.0.0.10 c6a1=2001:db8::1"
    " c6a1Label=Device IPv6 Address deviceExternalId=11111111-2222-3333-4444-555555555555 shost=SOURCE"
    " smac=00:11:22:33:44:66 src=10.0.0.2 c6a2=2001:db8::2 c6a2Label=Source IPv6 Address spt=50814"
    r" suser=CORP\\bob sproc=C:\\source.exe -x dhost=TARGET dmac=00:11:22:33:44:77 dst=10.0.0.3"
    r" c6a3=2001:db8::3 c6a3Label=Destination IPv6 Address dpt=445 duser=CORP\\alice dproc=IEXPLORE.EXE"
    rf" proto=TCP filePath=C:\\tools\\tool.exe fname=tool.exe fileHash={'c' * 64}"
    " request=https://malware.example:8443/a/b.exe?c#d act=blocked outcome=success cat=Malware detected"
    f" msg=Buffer Overflow detected and blocked (GBOP) externalId={EVENT_ID} cnt=1"
    " cs1=ExP:Heap cs1Label=Threat Name cs2=Exploit Prevention cs2Label=Threat Type"
    " cs3=Exploit Prevention cs3Label=Detection Method cs4=Critical cs4Label=Threat Severity"
    r" cs5=My Organization\\Workstations cs5Label=System Tree Path"
    " cs6=Send DXL Threat Event cs6Label=Response Rule"
)


class TestHeader:
    @pytest.mark.parametrize(
        ("event", "header"),
        [
            ({}, "unknown|Threat event"),
            ({"threatName": "EICAR", "eventDesc": ""}, "unknown|EICAR"),
            ({"eventId": 7}, "7|Threat event"),
        ],
    )
    def test_is_always_complete(self, event: Any, header: str) -> None:
        assert to_cef({"event": event}).startswith(f"CEF:0|Trellix|ePolicy Orchestrator|unknown|{header}|5|")


class TestExtension:
    def test_holds_what_the_dictionary_has_keys_for(self) -> None:
        assert to_cef(COMPLETE, event_id=EVENT_ID) == WHOLE

    @pytest.mark.parametrize(
        ("event", "fields"),
        [
            ({"target": {"ipv6": "fe80::1%3"}}, {"c6a3": "fe80::1", "c6a3Label": "Destination IPv6 Address"}),
            ({"target": {"protocol": "HTTP"}}, {"app": "HTTP"}),
            ({"entity": {"id": "42", "type": "user"}}, {}),
            ({"entity": {"id": "42", "type": "device"}}, {"deviceExternalId": "42"}),
        ],
    )
    def test_has_another_key_where_the_value_is_of_another_kind(self, event: Any, fields: Any) -> None:
        assert extension(**event) == fields

    def test_leaves_out_what_is_empty_or_impossible(self) -> None:
        source = {"port": 0, "mac": "00", "url": " ", "hostName": None, "userName": []}
        other_data = {"threatSeverityString": "{threatSeverityString}", "count": "many"}
        event = {"category": "{category}", "source": source, "target": {"port": 65536}}
        assert extension(otherData=other_data, **event) == {}


class TestEscaping:
    @pytest.mark.parametrize(
        ("value", "header", "escaped"),
        [
            ("a|b", "a\\|b", "a|b"),
            ("a=b", "a=b", "a\\=b"),
            ("a\\", "a\\\\", "a\\\\"),
            ("a\r\nb\nc", "a b c", "a\\nb\\nc"),
        ],
    )
    def test_differs_between_header_and_extension(self, value: str, header: str, escaped: str) -> None:
        assert to_cef({"event": {"eventDesc": value}}).endswith(f"|{header}|5|msg={escaped}")

    @given(st.lists(st.text(HOSTILE, min_size=1), min_size=6, max_size=6))
    @example(["a src=1.2.3.4", "b\\ cat=x", "c\nd", "| e |", "\0\x1b[31m", "😀\ud83d\ude00"])
    def test_brings_hostile_values_as_they_were_sent(self, values: Any) -> None:
        product, description, program, process, category, rule = (f"<{value}>" for value in values)
        event = {
            "analyzer": {"name": product},
            "eventDesc": description,
            "source": {"processName": program},
            "target": {"processName": process},
            "category": category,
            "otherData": {"responseRuleName": rule},
        }
        header, fields = parse(to_cef({"event": event}))
        assert header[2] == arrived(product, new_line=" ")
        assert header[5] == arrived(description, new_line=" ")
        assert [fields[key] for key in ("msg", "sproc", "dproc", "cat", "cs6")] == [
            arrived(value) for value in (description, program, process, category, rule)
        ]


class TestLength:
    @pytest.mark.parametrize(
        ("event", "key", "length"),
        [
            ({"threatActionTaken": "a" * 63}, "act", 63),
            ({"target": {"protocol": "a" * 31}}, "app", 31),
            ({"analyzer": {"hostName": "a" * 100}}, "dvchost", 100),
            ({"source": {"url": "a" * 1023}}, "request", 1023),
            ({"source": {"url": "=" * 1023}}, "request", 1023),
            ({"target": {"fileName": "a" * 1023}}, "fname", 1023),
            ({"target": {"fileName": "HKLM\\" + "a" * 1018}}, "flexString1", 1023),
            ({"threatName": "a" * 4000}, "cs1", 4000),
        ],
    )
    def test_of_a_value_is_that_of_the_dictionary(self, event: Any, key: str, length: int) -> None:
        value = extension(**event)[key]
        assert len(value) == length
        assert "…" not in value
        longer = json.loads(json.dumps(event).replace('"}', 'x"}'))
        assert extension(**longer)[key] == value[:-1] + "…"

    def test_of_the_header_is_limited_too(self) -> None:
        product = {"name": "a" * 64, "version": "b" * 32}
        event = {"analyzer": product, "id": "c" * 1024, "eventDesc": "d" * 513}
        header, _ = parse(to_cef({"event": event}))
        shortened = ["a" * 62 + "…", "b" * 30 + "…", "unknown", "d" * 511 + "…", "5"]
        assert header == ["CEF:0", "Trellix", *shortened]

    def test_of_an_id_is_never_cut(self) -> None:
        device = {"type": "device", "id": "d" * 255}
        line = to_cef({"event": {"entity": device}}, event_id="e" * 40)
        assert parse(line)[1] == {"deviceExternalId": "d" * 255, "externalId": "e" * 40}
        device["id"] += "d"
        assert parse(to_cef({"event": {"entity": device}}, event_id="e" * 41))[1] == {}

    def test_of_the_line_is_limited(self) -> None:
        threat_event = sample_threat_event(
            source={"url": "https://a.example/" + "|=\\" * 3000, "ipv6": "2001:db8::1"},
            target={"userName": "é" * 3000},
            threatName="😀" * 3000,
            files=[{"name": "", "hash": {"SHA-256": "a" * 64}}],
        )
        whole = parse(to_cef(threat_event, max_bytes=100_000))[1]
        for max_bytes in 7800, 4000, 2000:
            line = to_cef(threat_event, event_id=EVENT_ID, max_bytes=max_bytes)
            assert max_bytes * 0.95 < len(line.encode()) <= max_bytes
            _, fields = parse(line)
            assert fields.keys() == whole.keys() | {"externalId"}
            cut = {key: value for key, value in fields.items() if value != whole.get(key, value)}
            assert cut.keys() <= {"cs1", "duser", "request", "msg", "cat", "filePath", "cs6"}
            assert all(
                value.endswith("…") and whole[key].startswith(value[:-1]) for key, value in cut.items()
            )
            # The longest values are all truncated to the same length.
            assert len({len(cut[key]) for key in ("cs1", "duser", "request") if len(cut[key]) < 1023}) <= 1

    def test_of_the_line_is_kept_by_the_longest_ids(self) -> None:
        text = "😀" * 5000
        place: dict[str, Any] = {"ipv6": "1111:2222:3333:4444:5555:6666:7777:8888"}
        event: dict[str, Any] = dict.fromkeys(
            ("eventDesc", "category", "threatName", "threatType", "uri"), text
        )
        place |= dict.fromkeys(("hostName", "userName", "processName", "protocol", "name", "version"), text)
        place |= {"ipv4": "255.255.255.255", "mac": "001122334455", "port": 65535, "detectionMethod": text}
        event |= {"analyzer": place, "source": place, "target": place | {"fileName": text}, "id": "😀" * 1023}
        event |= {"entity": {"id": "😀" * 255, "_nodeTextPath": text}, "threatActionTaken": text}
        event["otherData"] = {
            "threatSeverityString": text,
            "responseRuleName": text,
            "sc_evtFileSha256": "a" * 64,
        }
        assert 6000 < len(to_cef({"event": event}, event_id="😀" * 40, max_bytes=0).encode()) < 6500
        assert len(to_cef({"event": event}, event_id="😀" * 40).encode()) <= 7800

    def test_may_be_too_small_for_what_is_never_cut(self) -> None:
        line = to_cef(COMPLETE, max_bytes=10)
        assert parse(line)[1]["dst"] == "10.0.0.3"
        assert "msg=… " in line


LINES = [
    to_cef(COMPLETE, event_id=EVENT_ID),
    to_cef({}),
    to_cef(
        {"event": {"eventDesc": "a|b\\c=d", "category": "x=y\\z\nw cat=1", "threatName": "é😀 dst=1.2.3.4"}}
    ),
    to_cef({"event": {"target": {"fileName": "HKLM\\a\\b"}, "source": {"ipv6": "2001:db8::1"}}}),
]


@pytest.mark.servers
def test_the_parser_of_rsyslog_finds_exactly_what_was_sent(tmp_path: Path) -> None:
    # lognormalizer is part of rsyslog's liblognorm (Debian package liblognorm-utils).
    rules = tmp_path / "rules"
    rules.write_text("version=2\nrule=:%cef:cef%\n")
    command = ["lognormalizer", "-r", str(rules), "-e", "json"]
    output = subprocess.run(
        command, input="\n".join([*LINES, ""]), capture_output=True, text=True, check=True, timeout=30
    ).stdout
    for line, found in zip(LINES, map(json.loads, output.splitlines()), strict=True):
        header, fields = parse(line)
        if fields:
            # liblognorm's parser loses the first letter of the first key.
            first = next(iter(fields))
            fields[first[1:]] = fields.pop(first)
        assert found["cef"].pop("Extensions") == fields
        assert list(found["cef"].values()) == header[1:]
