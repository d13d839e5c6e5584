import json
from typing import Any

import pytest

from dxlthreateventclient.formats import to_ecs
from dxlthreateventclient.other_data import convert_aggregate_fields
from dxlthreateventclient.testing import sample_threat_event


def ecs(**event: Any) -> Any:
    return to_ecs({"event": event})


def rest(**event: Any) -> Any:
    return ecs(**event).get("epo", {}).get("event", {})


def test_an_empty_event_is_still_an_alert_about_a_host() -> None:
    assert to_ecs({}) == {
        "ecs": {"version": "9.4.0"},
        "event": {"kind": "alert", "category": ["host"], "type": ["info"]},
        "observer": {"vendor": "Trellix"},
    }


def test_the_event_is_described_by_its_code_severity_action_and_outcome() -> None:
    document = to_ecs(sample_threat_event(analyzer={"detectedUTC": "2016-12-13T22:18:34.120Z"}))
    assert document["@timestamp"] == "2016-12-13T22:18:34.120Z"
    assert document["message"] == "Buffer Overflow detected and blocked (GBOP)"
    assert document["rule"] == {"name": "ExP:Heap"}
    del document["event"]["created"]
    assert document["event"] == {
        "action": "blocked",
        "category": ["intrusion_detection", "file"],
        "code": "18052",
        "kind": "alert",
        "outcome": "success",
        "provider": "Exploit Prevention",
        "reason": "ExP:Heap",
        "severity": 2,
        "type": ["denied", "info"],
    }


def test_the_analyzer_is_the_observer_and_runs_on_the_host() -> None:
    document = to_ecs(sample_threat_event())
    place = {"hostname": "WS-0117", "ip": ["10.0.0.10"], "mac": ["00-11-22-33-44-55"]}
    assert document["observer"] == place | {
        "product": "McAfee Endpoint Security",
        "vendor": "Trellix",
        "version": "10.5.0",
    }
    assert document["host"] == place | {
        "id": "11111111-2222-3333-4444-555555555555",
        "name": "WS-0117",
        "os": {"full": "Windows 10", "name": "Windows 10", "type": "windows"},
        "target": {"hostname": "WS-0117"},
        "type": "Workstation",
    }


def test_what_has_no_field_of_its_own_is_kept_in_the_namespace() -> None:
    assert to_ecs(sample_threat_event())["epo"] == {
        "event": {
            "analyzer": {"id": "ENDP_AM_1020"},
            "category": "Host intrusion buffer overflow",
            "entity": {"_nodeTextPath": "My Organization\\Workstations", "type": "device"},
            "otherData": {
                "count": "1",
                "definedAt": "My Organization",
                "responseEventType": "Threat",
                "responseRuleName": "Send DXL Threat Event",
                "threatSeverityString": "Critical",
            },
            "source": {"ipv6": "0:0:0:0:0:FFFF:0A00:000A"},
            "target": {"ipv6": "0:0:0:0:0:FFFF:0A00:000A", "port": 0, "processName": "IEXPLORE.EXE"},
            "threatType": "Exploit Prevention",
        },
        "eventMessageType": "McAfee Common Event",
        "eventMessageVersion": "1.0",
    }


def test_nothing_is_lost_if_every_value_is_an_unusable_text() -> None:
    threat_event = sample_threat_event(
        files=[{"name": "f", "hash": {"MD5": "", "SHA-1": "", "SHA-256": ""}}], _receivedUTC=""
    )
    markers: list[str] = []

    def marked(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: marked(item) for key, item in value.items()}
        if isinstance(value, list):
            return [marked(item) for item in value]
        markers.append(f"marker-{len(markers)}.")
        return markers[-1]

    document = json.dumps(to_ecs(marked(threat_event)))
    assert len(markers) > 50
    assert [marker for marker in markers if marker not in document] == []


def test_the_time_is_when_epo_received_the_event_if_nothing_says_when_it_was_detected() -> None:
    received = "2016-12-13T22:18:35.000Z"
    for document in (to_ecs({"_receivedUTC": received}), to_ecs({"event": {"_receivedUTC": received}})):
        assert document["@timestamp"] == document["event"]["created"] == received
        assert "epo" not in document


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2016-12-13T22:18:34Z", "2016-12-13T22:18:34.000Z"),
        ("2016-12-13 22:18:34", "2016-12-13T22:18:34.000Z"),
        ("2016-12-13T22:18:34.1234567z", "2016-12-13T22:18:34.123Z"),
        ("2016-12-13T22:18:34.5+02:00", "2016-12-13T20:18:34.500Z"),
        ("2016-12-13T22:18:34-0330", "2016-12-14T01:48:34.000Z"),
    ],
)
def test_a_time_is_written_in_utc_to_the_millisecond(written: Any, utc: Any) -> None:
    assert ecs(analyzer={"detectedUTC": written})["@timestamp"] == utc


@pytest.mark.parametrize(
    "written",
    [
        "yesterday",
        "2016-02-30T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "0000-01-01T00:00:00Z",
        1481667514,
        ["x"],
    ],
)
def test_what_is_no_time_is_kept_in_the_namespace(written: Any) -> None:
    document = ecs(analyzer={"detectedUTC": written})
    assert "@timestamp" not in document
    assert document["epo"]["event"]["analyzer"]["detectedUTC"] == written


@pytest.mark.parametrize("handled", [1, "1", True, "true", 0, "0", False, "False"])
def test_the_outcome_tells_whether_the_threat_was_handled(handled: Any) -> None:
    success = str(handled).lower() in ("1", "true")
    assert ecs(threatHandled=handled)["event"]["outcome"] == ("success" if success else "failure")


@pytest.mark.parametrize("handled", [None, "", 2, "perhaps", [1]])
def test_an_event_without_a_threat_has_no_outcome(handled: Any) -> None:
    assert "outcome" not in ecs(threatHandled=handled)["event"]


@pytest.mark.parametrize(("written", "number"), [(2, 2), ("2", 2), (2.0, 2), ("-7", -7)])
def test_the_severity_is_a_number_on_epos_scale(written: Any, number: Any) -> None:
    severity = ecs(threatSeverity=written)["event"]["severity"]
    assert (type(severity), severity) == (int, number)


@pytest.mark.parametrize("written", ["Critical", 2.5, True, {"2": 2}, 2**63, "9" * 40, "²"])
def test_a_severity_that_is_no_number_is_kept_in_the_namespace(written: Any) -> None:
    assert "severity" not in ecs(threatSeverity=written)["event"]
    kept = rest(threatSeverity=written)["threatSeverity"]
    assert kept == (str(written) if written == 2**63 else written)


@pytest.mark.parametrize(("written", "code"), [(1027, "1027"), ("1027", "1027"), (1027.0, "1027")])
def test_the_code_of_an_event_is_text(written: Any, code: Any) -> None:
    assert ecs(id=written)["event"]["code"] == code


@pytest.mark.parametrize(
    ("event", "categories", "types"),
    [
        ({"category": "Malware detected"}, ["malware"], ["info"]),
        ({"threatType": "trojan"}, ["malware"], ["info"]),
        ({"category": "Firewall", "threatActionTaken": "denied"}, ["intrusion_detection"], ["denied"]),
        ({"category": "Firewall", "threatActionTaken": "would block"}, ["intrusion_detection"], ["allowed"]),
        ({"category": "Firewall", "threatActionTaken": "not allowed"}, ["intrusion_detection"], ["denied"]),
        ({"category": "Firewall", "threatActionTaken": "disallowed"}, ["intrusion_detection"], ["denied"]),
        ({"category": "Firewall", "threatActionTaken": "unblocked"}, ["intrusion_detection"], ["allowed"]),
        ({"category": "Firewall", "threatActionTaken": "reported"}, ["intrusion_detection"], ["info"]),
        ({"target": {"fileName": "x"}}, ["file"], ["info"]),
        ({"files": [{"name": "x"}], "threatActionTaken": "IDS_ALERT_ACT_TAK_DEL"}, ["file"], ["deletion"]),
        ({"target": {"protocol": "HTTP"}}, ["network"], ["info"]),
        ({"source": {"port": 1024}}, ["network"], ["info"]),
        ({"target": {"port": 0}}, ["host"], ["info"]),
    ],
)
def test_categories_and_types_follow_from_what_epo_says(event: Any, categories: Any, types: Any) -> None:
    fields = ecs(**event)["event"]
    assert (fields["category"], fields["type"]) == (categories, types)


@pytest.mark.parametrize("ipv6", ["10.0.0.16", "0:0:0:0:0:FFFF:0A00:0010", "::ffff:10.0.0.16"])
def test_an_ipv4_address_in_an_ipv6_field_is_that_ipv4(ipv6: Any) -> None:
    document = ecs(source={"ipv4": "", "ipv6": ipv6})
    assert document["source"] == {"ip": "10.0.0.16"}
    assert "epo" not in document


def test_the_ipv6_address_beside_an_ipv4_address_is_kept_in_the_namespace() -> None:
    document = ecs(target={"ipv4": "10.0.0.1", "ipv6": "2001:DB8::1"})
    assert document["destination"] == {"ip": "10.0.0.1"}
    assert document["related"] == {"ip": ["10.0.0.1", "2001:db8::1"]}
    assert document["epo"] == {"event": {"target": {"ipv6": "2001:DB8::1"}}}


@pytest.mark.parametrize("address", ["10.0.0.256", "10.0.0", "/10.0.0.1", "10.0.0.1/8", 1, [], "unknown"])
def test_what_is_no_ip_address_is_left_out(address: Any) -> None:
    document = ecs(analyzer={"ipv4": address}, source={"ipv4": address}, target={"ipv6": address})
    assert not {"host", "source", "destination", "related"} & set(document)


def test_an_ip_address_has_no_zone() -> None:
    assert ecs(source={"ipv6": "FE80::1%eth0"})["source"] == {"ip": "fe80::1"}


@pytest.mark.parametrize("mac", ["aabbcc00ddee", "AA:BB:CC:00:DD:EE", "aa-bb-cc-00-dd-ee"])
def test_a_mac_address_is_upper_case_with_hyphens(mac: Any) -> None:
    assert ecs(source={"mac": mac})["source"]["mac"] == "AA-BB-CC-00-DD-EE"


@pytest.mark.parametrize("mac", ["aabbcc00dde", "aabbcc00ddeeff", "gabbcc00ddee", True])
def test_what_is_no_mac_address_is_kept_in_the_namespace(mac: Any) -> None:
    assert ecs(source={"mac": mac})["epo"] == {"event": {"source": {"mac": mac}}}


@pytest.mark.parametrize(("written", "port"), [(80, 80), ("80", 80), (65535, 65535)])
def test_a_port_is_a_number(written: Any, port: Any) -> None:
    assert ecs(target={"port": written})["destination"] == {"port": port}


@pytest.mark.parametrize("port", [0, "0", -1, 65536, "http", True, 10**20])
def test_what_is_no_port_is_left_out(port: Any) -> None:
    assert "destination" not in ecs(target={"port": port})


def test_a_domain_and_a_user_are_split() -> None:
    document = ecs(source={"userName": "CORP\\alice"}, target={"userName": "NT AUTHORITY\\SYSTEM"})
    assert document["user"] == {
        "domain": "CORP",
        "name": "alice",
        "target": {"domain": "NT AUTHORITY", "name": "SYSTEM"},
    }
    assert document["related"] == {"user": ["alice", "SYSTEM"]}


@pytest.mark.parametrize("user", ["alice", "alice@corp.example", "\\alice", "CORP\\"])
def test_a_user_without_a_domain_is_not_split(user: Any) -> None:
    assert ecs(source={"userName": user})["user"] == {"name": user}


def test_a_target_is_another_host_and_the_destination() -> None:
    document = ecs(
        source={"hostName": "A", "port": 1}, target={"hostName": "B", "port": 2, "protocol": "UDP"}
    )
    assert document["source"] == {"domain": "A", "port": 1}
    assert document["destination"] == {"domain": "B", "port": 2}
    assert document["host"] == {"target": {"hostname": "B"}}
    assert document["network"] == {"transport": "udp"}
    assert document["related"] == {"hosts": ["A", "B"]}


def test_a_protocol_above_the_transport_is_no_transport() -> None:
    assert ecs(target={"protocol": "HTTP"})["network"] == {"protocol": "http"}


def test_the_process_is_that_of_the_source_and_else_that_of_the_target() -> None:
    target = {"processName": "target.exe"}
    assert ecs(source={"processName": "source.exe"}, target=target)["process"] == {"name": "source.exe"}
    document = ecs(source={"processName": ""}, target=target)
    assert document["process"] == {"name": "target.exe"}
    assert document["epo"]["event"]["target"] == target


@pytest.mark.parametrize("path", ["C:\\Windows\\cmd.exe", "/usr/bin/cmd.exe", "\\\\server\\share\\cmd.exe"])
def test_a_process_with_its_path_is_an_executable(path: Any) -> None:
    assert ecs(source={"processName": path})["process"] == {"executable": path, "name": "cmd.exe"}


def test_a_process_with_arguments_is_a_name() -> None:
    assert ecs(source={"processName": "cmd.exe /c dir"})["process"] == {"name": "cmd.exe /c dir"}


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("C:\\DAC\\A.B.EXE", {"directory": "C:\\DAC", "name": "A.B.EXE", "extension": "EXE"}),
        ("C:\\x", {"directory": "C:\\", "name": "x"}),
        ("/etc/a\\b.d/.profile", {"directory": "/etc/a\\b.d", "name": ".profile"}),
        ("eicar.com", {"name": "eicar.com", "extension": "com"}),
        ("C:\\DAC\\", {"directory": "C:\\DAC"}),
    ],
)
def test_the_path_of_the_target_file_is_taken_apart(path: Any, parts: Any) -> None:
    document = ecs(target={"fileName": path})
    assert document["file"] == parts | {"path": path}
    parts.pop("extension", None)
    assert document.get("threat") == {"indicator": {"file": parts | {"path": path}}}


@pytest.mark.parametrize("name", ["C:\\tmp\\EICAR.com", "eicar.COM", "", None])
def test_the_target_file_has_the_digests_of_the_file_with_its_name(name: Any) -> None:
    sha256 = "0123456789ABCDEF" * 4
    files = [
        7,
        {"name": "other.exe", "hash": {"MD5": "a" * 32}},
        {"name": name, "hash": {"MD5": "no digest", "SHA-1": "b" * 40, "SHA-256": sha256}},
    ]
    document = ecs(target={"fileName": "c:\\tmp\\eicar.com"}, files=files)
    assert document["file"]["hash"] == {"sha1": "b" * 40, "sha256": sha256.lower()}
    assert document["related"]["hash"] == ["a" * 32, "b" * 40, sha256.lower()]


def test_the_digests_of_other_files_are_only_related() -> None:
    document = ecs(target={"fileName": "a.exe"}, files=[{"name": "b.exe", "hash": {"MD5": "a" * 32}}])
    assert "hash" not in document["file"]
    assert document["related"] == {"hash": ["a" * 32]}


def test_the_first_of_the_files_is_that_of_a_target_without_one() -> None:
    file = {"name": "eicar.com", "hash": {"MD5": "a" * 32}}
    document = ecs(target={"fileName": ""}, files=[{}, file])
    assert document["file"] == {
        "extension": "com",
        "hash": {"md5": "a" * 32},
        "name": "eicar.com",
        "path": "eicar.com",
    }
    assert document["epo"] == {"event": {"files": [file]}}


def test_a_url_is_taken_apart() -> None:
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


def test_the_ipv6_address_in_a_url_keeps_its_brackets() -> None:
    assert ecs(uri="http://[::1]/")["url"]["domain"] == "[::1]"


@pytest.mark.parametrize("url", ["/path", "malware.example", "http://[broken", "http://a:99999/", "C:\\x"])
def test_an_incomplete_url_is_kept_as_it_is(url: Any) -> None:
    assert ecs(uri=url)["url"] == {"original": url}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Windows Server 2019", "windows"), ("Mac OS X", "macos"), ("macOS", "macos"), ("Linux", "linux")],
)
def test_the_operating_system_has_a_type(name: Any, kind: Any) -> None:
    assert ecs(entity={"osType": name})["host"]["os"] == {"full": name, "name": name, "type": kind}


def test_an_unknown_operating_system_has_no_type() -> None:
    assert ecs(entity={"osType": "BeOS"})["host"]["os"] == {"full": "BeOS", "name": "BeOS"}


def test_the_id_of_a_user_is_not_that_of_the_host() -> None:
    document = ecs(entity={"id": "42", "type": "User"})
    assert "host" not in document
    assert document["epo"] == {"event": {"entity": {"id": "42", "type": "User"}}}


def test_the_rule_of_the_entity_goes_before_the_name_of_the_threat() -> None:
    document = ecs(entity={"ruleName": "No scripts"}, threatName="ExP:Heap")
    assert (document["rule"]["name"], document["event"]["reason"]) == ("No scripts", "ExP:Heap")


def test_unresolved_placeholders_are_left_out_also_of_converted_aggregates() -> None:
    other_data = {key: f"{{{key}}}" for key in ("sc_evtFileMd5", "listOfSourceIPV4", "setOfSourceIPV4")}
    assert "epo" not in ecs(otherData=dict(other_data), threatName="{threatName}")
    assert "epo" not in ecs(otherData=convert_aggregate_fields(other_data))
    assert rest(otherData={"a": "{b}"}) == {"otherData": {"a": "{b}"}}


def test_aggregates_are_lists_and_objects_that_json_has() -> None:
    other_data = convert_aggregate_fields(
        {"listOfSourceIPV4": "10.0.0.2, 10.0.0.2", "setOfSourceIPV4": "10.0.0.2, 10.0.0.1"}
    )
    assert rest(otherData=other_data)["otherData"] == {
        "listOfSourceIPV4": {"0": "10.0.0.2", "1": "10.0.0.2"},
        "setOfSourceIPV4": ["10.0.0.1", "10.0.0.2"],
    }


def test_numbers_that_no_64_bits_hold_are_kept_as_text() -> None:
    assert rest(otherData={"a": 2**63, "b": 2**63 - 1, "c": float("nan")}) == {
        "otherData": {"a": str(2**63), "b": 2**63 - 1}
    }


def test_control_characters_and_lone_surrogates_are_replaced() -> None:
    document = ecs(eventDesc="a\x1b[31m\x85b\u202e\ud800", otherData={"\x9bkey": "\u2028x\r\ny\t\rz"})
    assert document["message"] == "a\ufffd[31m\ufffdb\ufffd\ufffd"
    assert document["epo"]["event"]["otherData"] == {"\ufffdkey": "x\ny\t\nz"}


def test_an_event_that_is_no_object_is_kept_in_the_namespace() -> None:
    assert to_ecs({"event": ["x"], "other": 1})["epo"] == {"event": ["x"], "other": 1}
