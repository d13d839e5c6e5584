from typing import Any

import pytest
from helpers.schemas import check_ecs

from dxlthreateventclient.formats import to_ecs
from dxlthreateventclient.formats.ecs import ECS_VERSION
from dxlthreateventclient.other_data import convert_aggregate_fields


def ecs(**event: Any) -> Any:
    document = to_ecs({"event": event})
    check_ecs(document)
    return document


class TestDocument:
    def test_of_an_empty_event_is_an_alert_about_a_host(self) -> None:
        assert to_ecs({}) == {
            "ecs": {"version": ECS_VERSION},
            "event": {"kind": "alert", "category": ["host"], "type": ["info"]},
            "observer": {"vendor": "Trellix"},
        }

    def test_is_not_wrapped_if_the_event_is_not_an_object(self) -> None:
        assert to_ecs({"event": ["x"], "other": 1})["epo"] == {"event": ["x"], "other": 1}


class TestValues:
    @pytest.mark.parametrize(("written", "number"), [(2, 2), ("2", 2), (2.0, 2), ("-7", -7), (10, 10)])
    def test_a_severity_is_a_number(self, written: Any, number: int) -> None:
        severity = ecs(threatSeverity=written)["event"]["severity"]
        assert (type(severity), severity) == (int, number)

    @pytest.mark.parametrize("written", ["Critical", 2.5, True, {"2": 2}, "9" * 19, "9" * 40, "²"])
    def test_a_severity_may_be_kept_in_the_namespace(self, written: Any) -> None:
        document = ecs(threatSeverity=written)
        assert "severity" not in document["event"]
        assert document["epo"]["event"] == {"threatSeverity": written}

    @pytest.mark.parametrize("written", [1027, "1027", 1027.0])
    def test_a_code_is_text(self, written: Any) -> None:
        assert ecs(id=written)["event"]["code"] == ecs(eventId=written)["event"]["code"] == "1027"

    def test_a_second_address_is_kept_in_the_namespace(self) -> None:
        document = ecs(target={"ipv4": "10.0.0.1", "ipv6": "2001:DB8::1"})
        assert document["destination"] == {"ip": "10.0.0.1"}
        assert document["related"] == {"ip": ["10.0.0.1", "2001:db8::1"]}
        assert document["epo"] == {"event": {"target": {"ipv6": "2001:DB8::1"}}}

    @pytest.mark.parametrize("mac", ["aabbcc00ddee", "AA:BB:CC:00:DD:EE", "aa-bb-cc-00-dd-ee"])
    def test_a_mac_address_has_hyphens(self, mac: str) -> None:
        assert ecs(source={"mac": mac})["source"]["mac"] == "AA-BB-CC-00-DD-EE"

    @pytest.mark.parametrize("mac", ["aabbcc00dde", "aabbcc00ddeeff", "gabbcc00ddee", True])
    def test_a_wrong_mac_address_is_kept_in_the_namespace(self, mac: Any) -> None:
        assert ecs(source={"mac": mac})["epo"] == {"event": {"source": {"mac": mac}}}

    @pytest.mark.parametrize("port", [80, "80", 65535, 0, "0", -1, 65536, "http", True, 10**20])
    def test_a_port_is_a_number_from_1_to_65535(self, port: Any) -> None:
        fields = {"port": int(port)} if str(port) in ("80", "65535") else None
        assert ecs(target={"port": port}).get("destination") == fields

    @pytest.mark.parametrize(
        ("protocol", "field"),
        [
            ("UDP", {"transport": "udp"}),
            ("IPv6-ICMP", {"transport": "ipv6-icmp"}),
            ("HTTP", {"protocol": "http"}),
        ],
    )
    def test_a_protocol_is_of_the_transport_or_above(self, protocol: str, field: Any) -> None:
        assert ecs(target={"protocol": protocol})["network"] == field

    def test_numbers_beyond_64_bits_are_text(self) -> None:
        other_data = {"a": 2**63, "b": 2**63 - 1, "c": 0.0, "d": False}
        assert ecs(otherData=other_data)["epo"]["event"]["otherData"] == other_data | {"a": str(2**63)}

    def test_harmful_characters_are_replaced(self) -> None:
        document = ecs(eventDesc="a\x1b[31m\x85b\u202e\ud800", otherData={"\x9bkey": "\u2028x\r\ny\t\rz"})
        assert document["message"] == "a\ufffd[31m\ufffdb\ufffd\ufffd"
        assert document["epo"]["event"]["otherData"] == {"\ufffdkey": "x\ny\t\nz"}

    def test_unresolved_placeholders_are_left_out(self) -> None:
        other_data = {key: f"{{{key}}}" for key in ("sc_evtFileMd5", "listOfSourceIPV4", "setOfSourceIPV4")}
        assert "epo" not in ecs(otherData=dict(other_data), threatName="{threatName}")
        assert "epo" not in ecs(otherData=convert_aggregate_fields(other_data))
        assert ecs(otherData={"a": "{b}"})["epo"] == {"event": {"otherData": {"a": "{b}"}}}

    def test_converted_aggregates_are_objects_and_lists(self) -> None:
        other_data = {"listOfSourceIPV4": "10.0.0.2, 10.0.0.2", "setOfSourceIPV4": "10.0.0.2, 10.0.0.1"}
        assert ecs(otherData=convert_aggregate_fields(other_data))["epo"]["event"]["otherData"] == {
            "listOfSourceIPV4": {"0": "10.0.0.2", "1": "10.0.0.2"},
            "setOfSourceIPV4": ["10.0.0.1", "10.0.0.2"],
        }


class TestFields:
    def test_the_process_is_of_the_source_else_of_the_target(self) -> None:
        target = {"processName": "target.exe"}
        document = ecs(source={"processName": "source.exe"}, target=target)
        assert document["process"] == {"name": "source.exe"}
        document = ecs(source={"processName": ""}, target=target)
        assert document["process"] == {"name": "target.exe"}
        assert document["epo"]["event"]["target"] == target

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("Windows Server 2019", "windows"),
            ("Mac OS X", "macos"),
            ("macOS", "macos"),
            *((name, "linux") for name in ("Linux", "Ubuntu 22.04", "debian", "CentOS 7", "Red Hat", "SUSE")),
            ("BeOS", None),
        ],
    )
    def test_an_operating_system_has_a_type(self, name: str, kind: str | None) -> None:
        fields = {"full": name, "name": name} | ({"type": kind} if kind else {})
        assert ecs(entity={"osType": name})["host"]["os"] == fields

    def test_the_id_of_a_user_is_not_that_of_the_host(self) -> None:
        document = ecs(entity={"id": "42", "type": "User"})
        assert "host" not in document
        assert document["epo"] == {"event": {"entity": {"id": "42", "type": "User"}}}

    def test_the_rule_of_the_entity_goes_before_the_threat(self) -> None:
        document = ecs(entity={"ruleName": "No scripts"}, threatName="ExP:Heap")
        assert (document["rule"]["name"], document["event"]["reason"]) == ("No scripts", "ExP:Heap")

    def test_a_url_is_taken_apart(self) -> None:
        url = "https://Malware.example:8443/a/b.php?c=d#e"
        assert ecs(source={"url": url})["url"] == {
            "domain": "malware.example",
            "extension": "php",
            "fragment": "e",
            "full": url,
            "original": url,
            "path": "/a/b.php",
            "port": 8443,
            "query": "c=d",
            "scheme": "https",
        }
        assert ecs(uri="http://[::1]/")["url"]["domain"] == "[::1]"

    @pytest.mark.parametrize(
        "url", ["/path", "malware.example", "http://[broken", "http://a:99999/", "C:\\x"]
    )
    def test_an_incomplete_url_is_kept_as_it_is(self, url: str) -> None:
        assert ecs(uri=url)["url"] == {"original": url}
