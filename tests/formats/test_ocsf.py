from typing import Any

import pytest
from helpers.corpus import COMPLETE
from helpers.schemas import check_ocsf, value_at

from dxlthreateventclient.formats import to_ocsf


def ocsf(**event: Any) -> Any:
    finding = to_ocsf({"event": event})
    check_ocsf(finding)
    return finding


class TestFinding:
    def test_of_an_empty_event_has_what_the_schema_requires(self) -> None:
        finding = to_ocsf({})
        check_ocsf(finding)
        required = "activity_id category_uid class_uid finding_info metadata severity_id time type_uid"
        captions = "activity_name category_name class_name severity type_name"
        assert finding.keys() == {*required.split(), *captions.split(), "is_alert"}
        assert len(finding["finding_info"].pop("uid")) == 64
        assert not finding["finding_info"]

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
        [evidence] = to_ocsf(COMPLETE)["evidences"]
        assert evidence == {
            "actor": {"app_name": "source.exe", "user": {"domain": "CORP", "name": "bob"}},
            "connection_info": {"direction": "Unknown", "direction_id": 0, "protocol_name": "tcp"},
            "dst_endpoint": {"hostname": "TARGET", "ip": "10.0.0.3", "mac": "00-11-22-33-44-77", "port": 445},
            "file": evidence["file"],
            "src_endpoint": {
                "hostname": "SOURCE",
                "ip": "10.0.0.2",
                "mac": "00-11-22-33-44-66",
                "port": 50814,
            },
            "url": {"url_string": "https://malware.example:8443/a/b.exe?c#d"},
            "user": {"domain": "CORP", "name": "alice"},
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
