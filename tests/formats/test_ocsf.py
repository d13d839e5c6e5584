from typing import Any

import pytest
from helpers.schemas import check_ocsf, value_at

from dxlthreateventclient.formats import to_ocsf
from dxlthreateventclient.formats.ocsf import OCSF_VERSION
from dxlthreateventclient.testing import sample_threat_event
from dxlthreateventclient.testing.events import varied_threat_events


def ocsf(**event: Any) -> Any:
    finding = to_ocsf({"event": event})
    check_ocsf(finding)
    return finding


class TestFinding:
    def test_of_an_empty_event_has_what_the_schema_requires(self) -> None:
        finding = to_ocsf({})
        check_ocsf(finding)
        del finding["time"]
        assert len(finding["finding_info"].pop("uid")) == 64
        assert finding == {
            "activity_id": 1,
            "activity_name": "Create",
            "category_name": "Findings",
            "category_uid": 2,
            "class_name": "Detection Finding",
            "class_uid": 2004,
            "finding_info": {},
            "is_alert": True,
            "metadata": {
                "product": {"name": "ePolicy Orchestrator", "vendor_name": "Trellix"},
                "profiles": ["security_control"],
                "version": OCSF_VERSION,
            },
            "severity": "Unknown",
            "severity_id": 0,
            "type_name": "Detection Finding: Create",
            "type_uid": 200401,
        }

    @pytest.mark.parametrize("number", range(4))
    def test_of_a_sample_event_is_valid(self, number: int) -> None:
        check_ocsf(
            to_ocsf(list(zip(range(4), varied_threat_events(), strict=False))[number][1], event_id="{a}")
        )

    def test_describes_the_event(self) -> None:
        detected, received = "2016-12-13T22:18:34.120Z", "2016-12-13T22:18:35Z"
        finding = to_ocsf(sample_threat_event(analyzer={"detectedUTC": detected}, _receivedUTC=received))
        assert finding["message"] == finding["finding_info"]["title"]
        assert finding["message"] == "Buffer Overflow detected and blocked (GBOP)"
        assert finding["finding_info"]["analytic"] == {"name": "ExP:Heap", "type": "Rule", "type_id": 1}
        assert finding["finding_info"]["types"] == ["Host intrusion buffer overflow", "Exploit Prevention"]
        assert (finding["action"], finding["disposition"]) == ("Denied", "Blocked")
        assert (finding["severity"], finding["is_alert"], finding["count"]) == ("Critical", True, 1)
        assert finding["metadata"] == {
            "event_code": "18052",
            "log_name": "McAfee Common Event",
            "log_version": "1.0",
            "logged_time": 1481667515000,
            "original_time": detected,
            "product": {
                "feature": {"name": "Exploit Prevention"},
                "name": "McAfee Endpoint Security",
                "uid": "ENDP_AM_1020",
                "vendor_name": "Trellix",
                "version": "10.5.0",
            },
            "profiles": ["security_control"],
            "version": "1.5.0",
        }

    def test_keeps_as_unmapped_what_has_no_attribute(self) -> None:
        assert to_ocsf(sample_threat_event())["unmapped"] == {
            "event": {
                "entity": {"_nodeTextPath": "My Organization\\Workstations", "type": "device"},
                "otherData": {
                    "count": "1",
                    "definedAt": "My Organization",
                    "responseEventType": "Threat",
                    "responseRuleName": "Send DXL Threat Event",
                    "threatSeverityString": "Critical",
                },
                "target": {"port": 0, "processName": "IEXPLORE.EXE"},
                "threatActionTaken": "blocked",
                "threatHandled": 1,
                "threatSeverity": 2,
            }
        }

    def test_without_a_message_id_has_that_of_its_content(self) -> None:
        uids = [to_ocsf({"event": {"id": number}})["finding_info"]["uid"] for number in (1, 1, 2)]
        assert uids[0] == uids[1] != uids[2]

    @pytest.mark.parametrize(("count", "number"), [("3", 3), (0, None), (-1, None), ("many", None)])
    def test_may_stand_for_several_events(self, count: Any, number: int | None) -> None:
        finding = ocsf(otherData={"count": count})
        assert finding.get("count") == number
        assert finding["unmapped"]["event"]["otherData"] == {"count": count}

    def test_may_be_one_that_another_product_injected(self) -> None:
        finding = to_ocsf({"event": {"eventId": 7}, "eventMsgType": "T", "eventMsgVersion": "2"})
        check_ocsf(finding)
        assert finding["metadata"].items() >= {"event_code": "7", "log_name": "T", "log_version": "2"}.items()

    @pytest.mark.parametrize(
        ("category", "analytic", "rule"),
        [
            ("hip.bo", "ExP:Heap", None),
            ("ops.fw.traffic", None, "Block SMB"),
            ("Firewall", None, "Block SMB"),
        ],
    )
    def test_names_what_found_it(self, category: str, analytic: Any, rule: Any) -> None:
        finding = ocsf(category=category, threatName="ExP:Heap", entity={"ruleName": "Block SMB"})
        assert finding["finding_info"].get("analytic", {}).get("name") == analytic
        assert finding.get("firewall_rule", {}).get("name") == rule


class TestDevice:
    def test_is_the_managed_one(self) -> None:
        finding = to_ocsf(sample_threat_event(entity={"groupName": "Lab"}))
        assert finding["device"] == {
            "groups": [{"name": "Lab"}],
            "hostname": "WS-0117",
            "ip": "10.0.0.10",
            "mac": "00-11-22-33-44-55",
            "os": {"name": "Windows 10", "type": "Windows", "type_id": 100},
            "type": "Workstation",
            "type_id": 99,
            "uid": "11111111-2222-3333-4444-555555555555",
        }

    @pytest.mark.parametrize(
        ("entity", "kind", "system"),
        [
            ({"osPlatform": "Server", "osType": "SUSE Linux"}, ("Server", 1), ("Linux", 200)),
            ({"osType": "macOS"}, ("Unknown", 0), ("macOS", 300)),
            ({"osType": "BeOS"}, ("Unknown", 0), ("Unknown", 0)),
        ],
    )
    def test_has_a_type(self, entity: Any, kind: Any, system: Any) -> None:
        device = ocsf(analyzer={"hostName": "A"}, entity=entity)["device"]
        assert (device["type"], device["type_id"]) == kind
        assert (device["os"]["type"], device["os"]["type_id"]) == system

    def test_is_left_out_without_a_name_an_address_or_an_id(self) -> None:
        event = {
            "analyzer": {"mac": "001122334455"},
            "entity": {"osType": "Linux", "id": "S-1", "type": "user"},
        }
        finding = ocsf(**event)
        assert "device" not in finding
        assert finding["unmapped"] == {"event": event}


class TestEvidence:
    def test_holds_source_and_target(self) -> None:
        [evidence] = ocsf(
            source={
                "hostName": "A",
                "ipv4": "10.0.0.1",
                "mac": "001122334455",
                "port": "50814",
                "processName": "C:\\a.exe -x",
                "url": "http://a.example/",
                "userName": "CORP\\bob",
            },
            target={
                "fileName": "C:\\b.dll",
                "hostName": "B",
                "ipv6": "2001:db8::1",
                "port": 445,
                "protocol": "TCP",
                "userName": "alice",
            },
        )["evidences"]
        assert evidence == {
            "actor": {"app_name": "a.exe", "user": {"domain": "CORP", "name": "bob"}},
            "connection_info": {"direction": "Unknown", "direction_id": 0, "protocol_name": "tcp"},
            "dst_endpoint": {"hostname": "B", "ip": "2001:db8::1", "port": 445},
            "file": {"name": "b.dll", "path": "C:\\b.dll", "type": "Regular File", "type_id": 1},
            "src_endpoint": {"hostname": "A", "ip": "10.0.0.1", "mac": "00-11-22-33-44-55", "port": 50814},
            "url": {"url_string": "http://a.example/"},
            "user": {"name": "alice"},
        }

    def test_has_no_endpoint_without_a_name_or_an_address(self) -> None:
        event = {"source": {"mac": "001122334455"}, "target": {"port": 80, "protocol": "HTTP"}}
        finding = ocsf(**event)
        assert "evidences" not in finding
        assert finding["unmapped"] == {"event": event}


class TestObservables:
    def test_are_what_people_search_for_each_once(self) -> None:
        finding = ocsf(
            analyzer={"hostName": "A", "ipv4": "10.0.0.1", "mac": "001122334455"},
            source={"hostName": "A", "ipv4": "10.0.0.2", "url": "http://a.example/", "userName": "bob"},
            target={"fileName": "C:\\a.exe", "ipv4": "10.0.0.1", "userName": "CORP\\bob"},
            files=[{"name": "a.exe", "hash": {"MD5": "A" * 32}}],
        )
        observables = finding["observables"]
        assert [(found["type"], found["value"], found["name"]) for found in observables] == [
            ("Hostname", "A", "device.hostname"),
            ("IP Address", "10.0.0.1", "device.ip"),
            ("MAC Address", "00-11-22-33-44-55", "device.mac"),
            ("IP Address", "10.0.0.2", "evidences[0].src_endpoint.ip"),
            ("User Name", "bob", "evidences[0].actor.user.name"),
            ("URL String", "http://a.example/", "evidences[0].url.url_string"),
            ("File Name", "a.exe", "evidences[0].file.name"),
            ("File Path", "C:\\a.exe", "evidences[0].file.path"),
            ("Hash", "a" * 32, "evidences[0].file.hashes[0].value"),
        ]
        assert all(value_at(finding, found["name"]) == found["value"] for found in observables)

    def test_include_registry_keys(self) -> None:
        [found] = ocsf(target={"fileName": "HKLM\\A\\b"})["observables"]
        assert found == {
            "name": "evidences[0].reg_value.path",
            "type": "Registry Key Path",
            "type_id": 46,
            "value": "HKLM\\A",
        }
