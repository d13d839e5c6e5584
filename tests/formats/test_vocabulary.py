"""How ePO's words and codes are converted into each format."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from helpers.schemas import check_formats

from dxlthreateventclient.formats import severity_of, to_cef, to_ecs, to_ocsf

MD5, SHA1 = "a" * 32, "b" * 40


def converted(**event: Any) -> Any:
    """Return the validated event in ECS, CEF and OCSF."""
    ecs, cef, ocsf = check_formats({"event": event})
    return ecs, cef, ocsf


class TestSeverity:
    @pytest.mark.parametrize("epo", [2, "2", 2.0, " 2\n"])
    def test_is_put_on_each_scale(self, epo: Any) -> None:
        threat_event = {"event": {"threatSeverity": epo}}
        assert severity_of(threat_event) == to_ecs(threat_event)["event"]["severity"] == 2
        assert (to_cef(threat_event).split("|")[6], to_ocsf(threat_event)["severity_id"]) == ("9", 5)
        document = to_ecs(threat_event, severity="elastic")
        assert document["event"]["severity"] == 99
        assert document["epo"]["event"]["threatSeverity"] == (epo.strip() if isinstance(epo, str) else epo)

    @pytest.mark.parametrize("epo", [0, 8, -1, 2.5, 10**30, True, None, "", "Critical", "²", [2], {"2": 2}])
    def test_is_unknown_if_it_is_not_from_1_to_7(self, epo: Any) -> None:
        threat_event = {"event": {"threatSeverity": epo}}
        assert severity_of(threat_event) is None
        assert to_cef(threat_event).split("|")[6] == "5"
        assert "severity" not in to_ecs(threat_event, severity="elastic")["event"]
        finding = to_ocsf(threat_event)
        assert (finding["severity_id"], finding["severity"]) == (0, "Unknown")

    def test_has_two_scales_in_ecs(self) -> None:
        with pytest.raises(ValueError, match="severity must be 'epo' or 'elastic', got 'siem'"):
            to_ecs({}, severity="siem")  # type: ignore[arg-type]

    @pytest.mark.parametrize("event", [{}, {"event": None}, {"event": ["threatSeverity"]}])
    def test_of_an_event_without_one_is_unknown(self, event: Any) -> None:
        assert severity_of(event) is None


class TestAction:
    @pytest.mark.parametrize(
        "word", ["_", "(none)", "NULL", "", None, "{threatActionTaken}", ["blocked"], True]
    )
    def test_may_be_missing(self, word: Any) -> None:
        ecs, cef, finding = converted(threatActionTaken=word)
        assert "action" not in ecs["event"]
        assert "act=" not in cef
        assert not {"action", "action_id", "disposition", "disposition_id"} & finding.keys()


class TestHandled:
    @pytest.mark.parametrize(
        ("outcome", "written"),
        [
            ("success", (1, "1", 1.0, True, "true", "True")),
            ("failure", (0, "0", False, "False")),
            (None, (None, "", 2, "perhaps", [1])),
        ],
    )
    def test_is_the_outcome_or_missing(self, outcome: str | None, written: Any) -> None:
        for handled in written:
            ecs, cef, _ = converted(threatHandled=handled)
            assert ecs["event"].get("outcome") == outcome
            assert cef.partition("outcome=")[2] == (outcome or "")


class TestKind:
    @pytest.mark.parametrize(
        ("event", "categories", "kind"),
        [
            (
                {"threatType": "IDS_THREAT_TYPE_VALUE_SP", "category": "hip.file"},
                ["intrusion_detection", "file"],
                "alert",
            ),
            ({"category": "hip.process"}, ["intrusion_detection", "process"], "alert"),
            ({"category": "hip.registry"}, ["intrusion_detection", "registry"], "alert"),
            ({"category": "fw.intrusion"}, ["network", "intrusion_detection"], "alert"),
            ({"category": "ops.fw.traffic"}, ["network"], "event"),
            ({"category": "Maliciel", "id": 1027}, ["malware"], "alert"),
            ({"category": "av.detect", "id": 35002}, ["malware"], "event"),
            ({"category": "Firewall", "threatActionTaken": "allowed"}, ["network"], "alert"),
            ({"threatActionTaken": "allowed"}, ["host", "intrusion_detection"], "alert"),
            ({"id": 1127}, ["host"], "alert"),
            ({"category": "ops.new", "threatActionTaken": "allowed"}, ["host"], "event"),
            ({"category": "opsec", "threatType": "av.new"}, ["host"], "alert"),
            ({"target": {"fileName": "x"}}, ["file"], "alert"),
            ({"files": {"name": "x"}}, ["file"], "alert"),
            ({"target": {"protocol": "HTTP"}}, ["network"], "alert"),
            ({"source": {"port": 1024}}, ["network"], "alert"),
            ({"target": {"port": 0}}, ["host"], "alert"),
        ],
    )
    def test_follows_from_what_epo_says(self, event: Any, categories: Any, kind: str) -> None:
        fields = converted(**event)[0]["event"]
        assert (fields["category"], fields["kind"]) == (categories, kind)

    @pytest.mark.parametrize(
        ("category", "action", "is_alert"),
        [
            ("hip.bo", "IDS_ACTION_WOULD_BLOCK", True),
            ("ops.scan.end", "", False),
            ("ops.fw.traffic", "IDS_THREAT_ACTION_BLOCK", False),
            ("Firewall", "allowed", False),
            ("Firewall", "blocked", True),
        ],
    )
    def test_is_an_alert_in_ocsf_or_not(self, category: str, action: str, is_alert: bool) -> None:
        assert converted(category=category, threatActionTaken=action)[2]["is_alert"] is is_alert


class TestNoValue:
    @pytest.mark.parametrize("word", ["none", "None", "(none)", "null", "NULL", "_", "N/A", "-"])
    def test_has_many_words(self, word: str) -> None:
        role = dict.fromkeys(("hostName", "userName", "fileName", "processName", "protocol", "url"), word)
        event = {
            "source": role,
            "target": role,
            "threatName": word,
            "uri": word,
            "entity": {"ruleName": word},
        }
        ecs, cef, ocsf = converted(**event)
        assert ecs.pop("epo") == ocsf.pop("unmapped") == {"event": event}
        assert ecs == to_ecs({})
        assert cef == to_cef({})
        assert not {"device", "evidences", "observables", "resources"} & ocsf.keys()
        assert ocsf["finding_info"].keys() == {"uid"}

    @pytest.mark.parametrize(
        "word", ["WS-1|Unknown filename", "unknown process", "UNKNOWN", "A|B|Unknown file"]
    )
    def test_is_an_unknown_file_or_program(self, word: str) -> None:
        event = {"source": {"processName": word}, "target": {"fileName": word, "processName": word}}
        ecs, cef, ocsf = converted(**event, files=[{"name": word}])
        assert not {"file", "process", "threat"} & ecs.keys()
        assert cef == to_cef({})
        assert not {"evidences", "resources", "observables"} & ocsf.keys()
        assert ecs["epo"] == ocsf["unmapped"] == {"event": event | {"files": [{"name": word}]}}

    @pytest.mark.parametrize("name", ["C:\\Unknown filename", "unknown.exe", "unknown process.exe"])
    def test_is_not_a_name_like_it(self, name: str) -> None:
        assert converted(target={"fileName": name})[0]["file"]["path"] == name


class TestTime:
    @pytest.mark.parametrize(
        ("written", "utc"),
        [
            ("2016-12-13T22:18:34Z", "2016-12-13T22:18:34.000Z"),
            ("2016-12-13 22:18:34", "2016-12-13T22:18:34.000Z"),
            ("2016-12-13T22:18:34.1234567z", "2016-12-13T22:18:34.123Z"),
            ("2016-12-13T22:18:34.5+02:00", "2016-12-13T20:18:34.500Z"),
            ("2016-12-13T22:18:34-0330", "2016-12-14T01:48:34.000Z"),
            ("2021-05-03 06:26:21 UTC", "2021-05-03T06:26:21.000Z"),
            ("1990-01-01T00:00:00Z", "1990-01-01T00:00:00.000Z"),
            ("2021-05-03T06:26Z", "2021-05-03T06:26:00.000Z"),
            (1481667514, "2016-12-13T22:18:34.000Z"),
            ("1481667514", "2016-12-13T22:18:34.000Z"),
            (1481667514120, "2016-12-13T22:18:34.120Z"),
            ("1481667514120", "2016-12-13T22:18:34.120Z"),
        ],
    )
    def test_is_read_in_many_ways(self, written: Any, utc: str) -> None:
        ecs, cef, ocsf = converted(analyzer={"detectedUTC": written})
        milliseconds = round(datetime.fromisoformat(utc.replace("Z", "+00:00")).timestamp() * 1000)
        assert ecs["@timestamp"] == utc
        assert cef.endswith(f"|rt={milliseconds}")
        assert ocsf["time"] == milliseconds
        assert ocsf["metadata"]["original_time"] == str(written)

    @pytest.mark.parametrize(
        "written",
        [
            *("yesterday", "2016-02-30T00:00:00Z", "9999-12-31T23:59:59-01:00", "2016-12-13", ["x"], True),
            *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1989-12-31T23:59:59Z", 0, 599_616_000, 10**17),
        ],
    )
    def test_is_believed_if_it_can_be_true(self, written: Any) -> None:
        ecs, cef, ocsf = converted(analyzer={"detectedUTC": written})
        assert "@timestamp" not in ecs
        assert "rt=" not in cef
        assert ocsf["time"] > 1_600_000_000_000
        for rest in ecs["epo"], ocsf["unmapped"]:
            assert rest["event"]["analyzer"]["detectedUTC"] == written

    def test_is_when_epo_received_it_or_when_it_arrived(self) -> None:
        received = {"_receivedUTC": "2016-12-13T22:18:35Z"}
        arrived = datetime(2016, 12, 13, 23, 18, 36, tzinfo=timezone(timedelta(hours=1)))
        for threat_event, second in (received, 35), ({"event": received}, 35), ({}, 36):
            time, milliseconds = f"2016-12-13T22:18:{second}.000Z", (1481667480 + second) * 1000
            ecs = to_ecs(threat_event, arrived=arrived)
            assert ecs["@timestamp"] == ecs["event"]["created"] == time
            assert to_cef(threat_event, arrived=arrived).endswith(f"|rt={milliseconds}")
            ocsf = to_ocsf(threat_event, arrived=arrived)
            assert ocsf["time"] == milliseconds
            assert ocsf["metadata"].get("logged_time") == (milliseconds if threat_event else None)

    def test_of_arrival_may_be_local_and_at_the_end_of_the_calendar(self) -> None:
        naive = datetime(2016, 12, 13, 22, 18, 34)  # noqa: DTZ001
        assert to_ecs({}, arrived=naive)["@timestamp"] == to_ecs({}, arrived=naive.astimezone())["@timestamp"]
        latest = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))
        assert "@timestamp" not in to_ecs({}, arrived=latest)


class TestMessageId:
    def test_is_in_each_format(self) -> None:
        event_id = "{a0bd5ca5-5d42-413b-8ce4-eff57935e772}"
        assert to_ecs({}, event_id=event_id)["event"]["id"] == event_id
        assert to_cef({}, event_id=event_id).endswith(f"|externalId={event_id}")
        ocsf = to_ocsf({}, event_id=event_id)
        assert ocsf["metadata"]["uid"] == ocsf["finding_info"]["uid"] == event_id

    @pytest.mark.parametrize("event_id", [None, "", " "])
    def test_may_be_unknown(self, event_id: Any) -> None:
        assert to_ecs({}, event_id=event_id) == to_ecs({})
        assert to_cef({}, event_id=event_id) == to_cef({})
        assert "uid" not in to_ocsf({}, event_id=event_id)["metadata"]

    def test_can_forge_nothing(self) -> None:
        event_id = "a b=c\r\n\x1b[m"
        assert to_ecs({}, event_id=event_id)["event"]["id"] == "a b=c\n\ufffd[m"
        assert to_cef({}, event_id=event_id).endswith("|externalId=a b\\=c\\n\ufffd[m")


class TestAddresses:
    @pytest.mark.parametrize(
        ("ipv6", "address"),
        [
            ("10.0.0.16", "10.0.0.16"),
            ("0:0:0:0:0:FFFF:0A00:0010", "10.0.0.16"),
            ("::ffff:10.0.0.16", "10.0.0.16"),
            ("/10.0.0.16", "10.0.0.16"),
            ("/2001:DB8::1", "2001:db8::1"),
            ("FE80::1%eth0", "fe80::1"),
        ],
    )
    def test_are_read_in_many_ways(self, ipv6: str, address: str) -> None:
        ecs, cef, ocsf = converted(source={"ipv4": "0.0.0.0", "ipv6": ipv6})
        assert ecs["source"] == {"ip": address}
        assert ecs["epo"] == {"event": {"source": {"ipv4": "0.0.0.0"}}}
        assert f"{'c6a2' if ':' in address else 'src'}={address}" in cef
        assert ocsf["evidences"] == [{"src_endpoint": {"ip": address}}]

    @pytest.mark.parametrize(
        "address",
        [
            *("10.0.0.256", "10.0.0", "//10.0.0.1", "10.0.0.1/8", 1, [], "unknown", "\0"),
            *("0.0.0.0", "::", "0:0:0:0:0:FFFF:0000:0000", "/0.0.0.0"),
        ],
    )
    def test_are_left_out_if_they_are_wrong_or_nobodys(self, address: Any) -> None:
        role = {"ipv4": address, "ipv6": address, "mac": "000000000000", "port": 0}
        ecs, cef, ocsf = converted(analyzer=role, source=role, target=role)
        assert not {"host", "source", "destination", "related"} & ecs.keys()
        assert cef == to_cef({})
        assert not {"device", "evidences", "observables"} & ocsf.keys()


class TestUser:
    @pytest.mark.parametrize(
        ("written", "domain", "name"),
        [
            ("CORP\\alice", "CORP", "alice"),
            ("CORP\\\\bob", "CORP", "bob"),
            ("NT AUTHORITY\\SYSTEM", "NT AUTHORITY", "SYSTEM"),
            ("alice@corp.example", None, "alice@corp.example"),
            ("\\alice", None, "\\alice"),
            ("CORP\\", None, "CORP\\"),
        ],
    )
    def test_has_a_domain(self, written: str, domain: str | None, name: str) -> None:
        ecs, cef, ocsf = converted(source={"userName": written}, target={"userName": written})
        user = {"domain": domain, "name": name} if domain else {"name": name}
        assert ecs["user"] == user | {"target": user}
        assert ecs["related"]["user"] == [name]
        account = (f"{domain}\\{name}" if domain else name).replace("\\", "\\\\")
        assert cef.endswith(f"|suser={account} duser={account}")
        assert ocsf["evidences"] == [{"actor": {"user": user}, "user": user}]


class TestProcess:
    @pytest.mark.parametrize(
        ("written", "name", "executable", "has_arguments"),
        [
            ("c.exe", "c.exe", None, False),
            ("C:\\a b\\c.exe", "c.exe", "C:\\a b\\c.exe", False),
            ("C:\\a b\\c.exe -x /y", "c.exe", "C:\\a b\\c.exe", True),
            ('"C:\\a b\\c.exe" -x', "c.exe", "C:\\a b\\c.exe", True),
            ("\\Device\\HarddiskVolume2\\x.exe", "x.exe", "\\Device\\HarddiskVolume2\\x.exe", False),
            ("\\\\server\\share\\cmd.exe", "cmd.exe", "\\\\server\\share\\cmd.exe", False),
            ("/usr/bin/python3 /tmp/x.py -z", "python3", "/usr/bin/python3", True),
            ("/Applications/Google Chrome", "Google Chrome", "/Applications/Google Chrome", False),
            ("cmd.exe /c dir", "cmd.exe", None, True),
            ("Some - Name", "Some - Name", None, False),
            ("C:\\dir\\", "C:\\dir\\", None, False),
        ],
    )
    def test_is_taken_apart(
        self, written: str, name: str, executable: str | None, has_arguments: bool
    ) -> None:
        ecs, _, ocsf = converted(source={"processName": written}, target={"processName": written})
        fields = {"name": name, "executable": executable, "command_line": written if has_arguments else None}
        assert ecs["process"] == {key: value for key, value in fields.items() if value}
        assert ocsf["evidences"] == [{"actor": {"app_name": name}}]
        assert ocsf["resources"] == [{"name": name, "type": "Process"}]
        assert ocsf["unmapped"]["event"]["target"] == {"processName": written}


class TestRegistry:
    @pytest.mark.parametrize(
        ("path", "hive", "key", "value"),
        [
            ("HKLM\\SOFTWARE\\LAB\\Run\\x.exe", "HKLM", "SOFTWARE\\LAB\\Run", "x.exe"),
            ("HKEY_CURRENT_USER\\A\\b", "HKCU", "A", "b"),
            ("hkcr\\A\\B\\", "HKCR", "A\\B", None),
            ("HKU\\S-1-5-18", "HKU", "S-1-5-18", None),
            ("HKEY_USERS", "HKU", None, None),
            ("\\REGISTRY\\MACHINE\\SOFTWARE\\A", "HKLM", "SOFTWARE", "A"),
        ],
    )
    def test_is_not_a_file(self, path: str, hive: str, key: str | None, value: str | None) -> None:
        ecs, cef, ocsf = converted(target={"fileName": path}, threatActionTaken="blocked")
        fields = {"path": path, "hive": hive, "key": key, "value": value}
        assert ecs["registry"] == {name: part for name, part in fields.items() if part}
        assert ecs["event"]["category"] == ["intrusion_detection", "registry"]
        assert ecs["event"]["type"] == ["denied", "access"]
        assert not {"file", "threat", "epo"} & ecs.keys()
        escaped = path.replace("\\", "\\\\")
        assert cef.endswith(f"|act=blocked flexString1={escaped} flexString1Label=Registry Path")
        [evidence] = ocsf["evidences"]
        if value:
            assert evidence == {"reg_value": {"path": path.removesuffix(f"\\{value}"), "name": value}}
        else:
            assert evidence == {"reg_key": {"path": path}}

    def test_goes_by_the_category_too(self) -> None:
        ecs, cef, ocsf = converted(category="hip.registry", target={"fileName": "SYSTEM\\x.exe"})
        assert ecs["registry"] == {"path": "SYSTEM\\x.exe"}
        assert "filePath" not in cef
        assert ocsf["evidences"] == [{"reg_key": {"path": "SYSTEM\\x.exe"}}]

    @pytest.mark.parametrize("path", ["HKLMX\\a", "C:\\HKLM\\a", "HKEY_OTHER\\a"])
    def test_begins_with_a_hive(self, path: str) -> None:
        assert "file" in converted(target={"fileName": path})[0]


class TestFile:
    @pytest.mark.parametrize(
        ("path", "directory", "name", "extension"),
        [
            ("C:\\DAC\\A.B.EXE", "C:\\DAC", "A.B.EXE", "EXE"),
            ("C:\\x", "C:\\", "x", None),
            ("/etc/a\\b.d/.profile", "/etc/a\\b.d", ".profile", None),
            ("/x", "/", "x", None),
            ("eicar.com", None, "eicar.com", "com"),
            ("C:/DAC/x", "C:/DAC", "x", None),
            ("C:\\DAC\\", "C:\\DAC", None, None),
        ],
    )
    def test_is_taken_apart(self, path: str, directory: Any, name: Any, extension: Any) -> None:
        ecs, cef, ocsf = converted(target={"fileName": path})
        parts = {"directory": directory, "name": name, "path": path}
        parts = {key: value for key, value in parts.items() if value}
        assert ecs["file"] == (parts | {"extension": extension} if extension else parts)
        assert ecs["threat"] == {"indicator": {"file": parts}}
        escaped = path.replace("\\", "\\\\")
        assert cef.endswith(f"|filePath={escaped} fname={name}" if name else f"|filePath={escaped}")
        if name:
            assert ocsf["evidences"] == [
                {"file": {"name": name, "path": path, "type": "Regular File", "type_id": 1}}
            ]
        else:
            assert ocsf["unmapped"] == {"event": {"target": {"fileName": path}}}

    @pytest.mark.parametrize(
        "event",
        [
            {
                "files": [
                    7,
                    {"name": "o", "hash": {}},
                    {"name": "A.EXE", "hash": {"md5": "A" * 32, "SHA1": SHA1}},
                ]
            },
            {"files": {"name": "C:\\A.exe", "hash": {"MD5": MD5, "sha-1": "B" * 40, "SHA-256": "no"}}},
            {"files": [{"hash": {"MD5": MD5, "SHA-1": SHA1}}]},
            {"otherData": {"sc_evtFileMd5": "A" * 32, "sc_evtFileSha1": SHA1, "sc_evtFileSha256": "{x}"}},
            {"otherData": {"sc_evtFileMd5": MD5}, "files": {"hash": {"SHA1": SHA1, "MD5": ""}}},
        ],
        ids=["list", "object", "without a name", "otherData", "both"],
    )
    def test_has_the_digests_of_files_and_other_data(self, event: Any) -> None:
        ecs, cef, ocsf = converted(target={"fileName": "C:\\a.exe"}, **event)
        digests = {"md5": MD5, "sha1": SHA1}
        assert ecs["file"]["hash"] == ecs["threat"]["indicator"]["file"]["hash"] == digests
        assert sorted(ecs["related"]["hash"]) == [MD5, SHA1]
        assert f"fileHash={SHA1}" in cef
        hashes = ocsf["evidences"][0]["file"]["hashes"]
        assert [(found["algorithm"], found["value"]) for found in hashes] == [("MD5", MD5), ("SHA-1", SHA1)]
        assert [found["value"] for found in ocsf["observables"] if found["type_id"] == 8] == [MD5, SHA1]

    def test_has_its_best_digest_in_cef(self) -> None:
        hashes = {"MD5": "a" * 32, "SHA-1": "b" * 40, "SHA-256": "c" * 64}
        for best in reversed(list(hashes)):
            _, cef, _ = converted(files={"name": "a.exe", "hash": hashes})
            assert f"fileHash={hashes.pop(best)}" in cef

    @pytest.mark.parametrize("digest", ["g" * 32, "a" * 31, "a" * 33, 7, None, ["a" * 32]])
    def test_has_no_digest_that_is_none(self, digest: Any) -> None:
        ecs, cef, ocsf = converted(files={"name": "a.exe", "hash": {"MD5": digest, "CRC": "a" * 32}})
        assert "hash" not in ecs["file"]
        assert "fileHash" not in cef
        assert "hashes" not in ocsf["evidences"][0]["file"]

    def test_has_no_digests_of_others(self) -> None:
        ecs, cef, ocsf = converted(
            target={"fileName": "a.exe"},
            files=[{"name": "b.exe", "hash": {"SHA-256": "c" * 64}}],
            otherData={"sc_evtProcessMd5": "d" * 32},
        )
        assert "hash" not in ecs["file"]
        assert ecs["related"]["hash"] == ["c" * 64, "d" * 32]
        assert "fileHash" not in cef
        assert [found["name"] for found in ocsf["observables"] if found["type_id"] == 8] == [
            "unmapped.event.files[0].hash.SHA-256",
            "unmapped.event.otherData.sc_evtProcessMd5",
        ]

    def test_may_be_the_first_of_the_files(self) -> None:
        file = {"name": "eicar.com", "hash": {"MD5": "a" * 32}}
        ecs, cef, ocsf = converted(target={"fileName": ""}, files=[{}, file])
        assert (ecs["file"]["path"], ecs["file"]["hash"]) == ("eicar.com", {"md5": "a" * 32})
        assert ecs["epo"] == {"event": {"files": [file]}}
        assert "filePath=eicar.com fname=eicar.com" in cef
        assert ocsf["evidences"][0]["file"]["name"] == "eicar.com"


class TestAggregates:
    @pytest.mark.parametrize("is_converted", [False, True])
    def test_are_related(self, is_converted: bool) -> None:
        other_data: dict[str, Any] = {
            "setOfSourceIPV4": "10.0.0.1, 10.0.0.2, 0.0.0.0",
            "listOfSourceIPV6": "2001:DB8::1, 2001:DB8::1",
            "setOfSourceHostName": "A, none",
            "setOfTargetUserName": "CORP\\bob",
            "setOfThreatName": "EICAR",
            "distinctCountOfSourceIPV4": "2",
        }
        if is_converted:
            other_data["setOfSourceIPV4"] = {"10.0.0.2", "10.0.0.1", "0.0.0.0"}
            other_data["listOfSourceIPV6"] = {0: "2001:DB8::1", 1: "2001:DB8::1"}
        ecs, _, ocsf = converted(source={"hostName": ""}, otherData=other_data)
        assert sorted(ecs["related"]["ip"]) == ["10.0.0.1", "10.0.0.2", "2001:db8::1"]
        assert (ecs["related"]["hosts"], ecs["related"]["user"]) == (["A"], ["bob"])
        assert "source" not in ecs
        observables = sorted((found["name"].split(".")[-1], found["value"]) for found in ocsf["observables"])
        assert observables == [
            ("listOfSourceIPV6", "2001:db8::1"),
            ("setOfSourceHostName", "A"),
            ("setOfSourceIPV4", "10.0.0.1"),
            ("setOfSourceIPV4", "10.0.0.2"),
            ("setOfTargetUserName", "bob"),
        ]
