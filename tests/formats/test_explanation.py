"""Each format interprets ePO's numbers, words and codes as listed in the tables."""

import csv
from typing import Any

import pytest
from helpers.pages import DOCS, table
from helpers.schemas import check_formats

from dxlthreateventclient.formats import OUTCOMES, explain, text_columns
from dxlthreateventclient.formats._events import EVENTS
from dxlthreateventclient.formats._words import ACTIONS, KINDS


def rows(name: str) -> list[list[str]]:
    with (DOCS / "epo" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [[cell.strip("`") for cell in row] for row in csv.reader(file)][1:]


NUMBERS, WORDS, CODES = rows("events"), rows("actions"), rows("categories")
OUTCOME_TABLE = {outcome: row for outcome, _, *row in table("whateposays.rst", "epo-outcomes")}
CATEGORIES = {
    kind: set(categories.split(", "))
    for kinds, categories in table("whateposays.rst", "epo-kinds")
    for kind in kinds.split(", ")
}
STOPPED = {outcome for outcome, (stopped, *_) in OUTCOME_TABLE.items() if stopped == "True"}
# The event numbers of threats that could not be removed. Failures of scans, updates and agents are excluded.
FAILED = {1026, 1061, 1103, 1298, 1310, 1418, 1419, 1420, 1502, 2002, 2004, 2009}
WOULD_BLOCK = {int(number) for number, _, _, outcome, *_ in NUMBERS if outcome == "would_block"}

PHRASES = """
    Unable to delete; Clean error; Not blocked; Could not be quarantined; Delete failed; Blocking disabled
    Nicht blockiert; Würde blockieren; Löschen fehlgeschlagen; Bereinigung nicht möglich; Wurde zugelassen
    Non bloqué; Impossible de supprimer; Échec du nettoyage; Aurait été bloqué; Mise en quarantaine refusée
    No bloqueado; No se pudo eliminar; Error de limpieza; Se bloquearía; Cuarentena fallida
    Não permitido; Não bloqueado; Falha ao excluir; Seria bloqueado; Limpeza não concluída
    Non bloccato; Impossibile eliminare; Pulizia non riuscita; Sarebbe stato bloccato; Quarantena fallita
"""


class TestTheTables:
    def test_of_the_package_are_those_of_the_page(self) -> None:
        assert {number: tuple(row) for number, *row in (row[:4] for row in NUMBERS)} == EVENTS
        assert {word.lower(): outcome for word, outcome, *_ in WORDS} == ACTIONS
        assert {code.lower(): kind for code, kind, *_ in CODES} == KINDS

    def test_name_the_sources_of_each_row(self) -> None:
        sources = {source for source, _ in rows("sources")}
        named = {source for row in NUMBERS + WORDS + CODES for source in row[-2].split("; ")}
        assert named == sources


class TestAnAction:
    @pytest.mark.parametrize(("word", "outcome"), [row[:2] for row in WORDS])
    def test_has_the_outcome_of_its_row(self, word: str, outcome: str) -> None:
        stopped, types, numbers = OUTCOME_TABLE[outcome]
        for written in (word, word.lower(), f" {word.upper()}\t"):
            event = {"threatActionTaken": written, "category": "nip.detect", "target": {"fileName": "x"}}
            ecs, cef, ocsf = check_formats({"event": event})
            explanation = explain({"event": event})
            assert (explanation.outcome, str(explanation.stopped)) == (outcome, stopped)
            assert ", ".join(ecs["event"]["type"]) == types
            assert (ecs["event"]["action"], f"act={written.strip()} " in cef) == (written.strip(), True)
            action, disposition = ((ocsf[f"{key}_id"], ocsf[key]) for key in ("action", "disposition"))
            if outcome == "unknown":
                assert action == disposition == (99, written.strip())
            else:
                assert "{} {} / {} {}".format(*action, *disposition) == numbers

    @pytest.mark.parametrize(
        "phrase", [phrase.strip() for phrase in PHRASES.replace("\n", ";").split(";") if phrase.strip()]
    )
    @pytest.mark.parametrize("number", [1027, 35104])
    def test_in_words_that_are_not_known_reassures_nobody(self, phrase: str, number: int) -> None:
        """Unknown actions have unknown outcomes, even if the event number means that a threat was stopped."""
        threat_event = {"event": {"id": number, "category": "av.detect", "threatActionTaken": phrase}}
        ecs, cef, ocsf = check_formats(threat_event)
        assert explain(threat_event)[2:] == ("unknown", None)
        assert (ecs["event"]["type"], ecs["event"]["action"]) == (["info"], phrase)
        assert (f"act={phrase} cat=" in cef, "outcome=" in cef) == (True, False)
        assert ocsf["action"] == ocsf["disposition"] == phrase
        assert ocsf["action_id"] == ocsf["disposition_id"] == 99
        assert text_columns(threat_event)[-1] == phrase

    def test_has_a_row_for_each_outcome_on_the_page(self) -> None:
        assert tuple(OUTCOME_TABLE) == OUTCOMES


class TestANumber:
    @pytest.mark.parametrize(("number", "meaning", "kind", "outcome"), [row[:4] for row in NUMBERS])
    def test_speaks_where_the_words_are_not_known(
        self, number: str, meaning: str, kind: str, outcome: str
    ) -> None:
        event = {"category": "Kategorie", "threatType": "Typ", "threatActionTaken": "Maßnahme"}
        for key, value in ("id", int(number)), ("eventId", number):
            threat_event = {"event": event | {key: value}}
            ecs, cef, ocsf = check_formats(threat_event)
            explanation = explain(threat_event)
            assert explanation[:2] == (meaning, kind)
            assert explanation.outcome in (outcome, "unknown")
            assert explanation.stopped is not True
            assert ecs["message"] == ocsf["message"] == ocsf["finding_info"]["title"] == meaning
            assert (cef.split("|")[5], f" msg={meaning} " in f"{cef} ") == (meaning, True)
            assert set(ecs["event"]["category"]) >= CATEGORIES[kind]

    def test_makes_an_outcome_worse_but_never_better(self) -> None:
        for number, _, kind, of_number, *_ in NUMBERS:
            worse = "failed" if int(number) in FAILED else of_number if int(number) in WOULD_BLOCK else None
            detected = of_number == "detected_only" and kind not in ("scan", "update", "agent")
            for word, outcome in [*(row[:2] for row in WORDS), ("", "unknown"), ("Maßnahme", "unknown")]:
                expected = outcome
                if worse and outcome in {*STOPPED, "unknown"}:
                    expected = worse
                elif detected and outcome == "unknown":
                    expected = "detected_only"
                found = explain({"event": {"id": number, "threatActionTaken": word}}).outcome
                assert found == expected, (number, word)

    def test_that_means_failed_is_a_failure(self) -> None:
        event = {"id": 1026, "threatActionTaken": "IDS_ALERT_ACT_TAK_DEL", "threatHandled": 1}
        ecs, cef, ocsf = check_formats({"event": event})
        assert (ecs["event"]["outcome"], ecs["event"]["type"]) == ("failure", ["info"])
        assert ecs["epo"] == {"event": {"threatHandled": 1}}
        assert "|act=IDS_ALERT_ACT_TAK_DEL outcome=failure " in cef
        assert (ocsf["action"], ocsf["disposition"]) == ("Unknown", "Uncorrected")
        assert check_formats({"event": {"id": 1026}})[0]["event"]["outcome"] == "failure"

    @pytest.mark.parametrize("category", ["Firewall detected", "fw.intrusion"])
    def test_of_an_intrusion_alerts_even_if_a_firewall_allowed_it(self, category: str) -> None:
        event = {"id": 35001, "category": category, "threatActionTaken": "allowed"}
        ecs, _, ocsf = check_formats({"event": event})
        assert ecs["event"]["category"] == ["network", "intrusion_detection"]
        assert (explain({"event": event}).stopped, ocsf["is_alert"]) == (False, True)

    def test_that_is_not_known_gets_no_meaning_from_another_key(self) -> None:
        assert explain({"event": {"id": 99999, "eventId": 1026}})[:3] == (None, "other", "unknown")

    def test_that_means_would_block_is_an_intrusion_that_was_allowed(self) -> None:
        event = {
            "id": 35102,
            "category": "av.reputation",
            "threatActionTaken": "blocked",
            "threatHandled": True,
        }
        fields = check_formats({"event": event})[0]["event"]
        assert (fields["category"], fields["type"]) == (
            ["malware", "intrusion_detection"],
            ["info", "allowed"],
        )
        assert fields["outcome"] == "success"


class TestAKind:
    @pytest.mark.parametrize(("code", "kind"), [row[:2] for row in CODES])
    def test_is_that_of_its_row(self, code: str, kind: str) -> None:
        for key, written in ("category", code), ("threatType", f"\t{code.upper()} "):
            ecs, _, ocsf = check_formats({"event": {key: written}})
            assert explain({"event": {key: written}}).kind == kind
            assert set(ecs["event"]["category"]) >= CATEGORIES[kind]
            assert ocsf["finding_info"].get("types", [written.strip()]) == [written.strip()]

    @pytest.mark.parametrize(
        ("threat_type", "number", "category", "kind"),
        [
            ("IDS_THREAT_TYPE_VALUE_SP", 18052, "hip.process", "access_protection"),
            ("none", 37275, "hip.process", "application_control"),
            ("Trojaner", 7, "hip.process", "access_protection"),
            ("Trojaner", 18905, "Malware entdeckt", "other"),
        ],
    )
    def test_is_of_the_type_the_number_or_the_category(
        self, threat_type: str, number: int, category: str, kind: str
    ) -> None:
        event = {"threatType": threat_type, "id": number, "category": category}
        assert explain({"event": event}).kind == kind


class TestStopped:
    @pytest.mark.parametrize(
        ("category", "number", "action", "stopped"),
        [
            ("ops.informational.event", 18600, "none", None),
            ("Update", 1119, "none", None),
            ("Solidcore", 20700, "none", None),
            ("fw.detect", 0, "allowed", None),
            ("fw.intrusion", 0, "allowed", False),
            ("ops.fw.traffic", 35002, "IDS_THREAT_ACTION_BLOCK", True),
            ("hip.bo", 18054, "IDS_ACTION_WOULD_BLOCK", False),
            ("Unbekannt", 0, "None", False),
            ("ops.scan.end", 1026, "deleted", False),
        ],
    )
    def test_is_unknown_where_there_was_no_threat(
        self, category: str, number: int, action: str, stopped: bool | None
    ) -> None:
        event = {"category": category, "id": number, "threatActionTaken": action}
        assert explain({"event": event}).stopped is stopped

    @pytest.mark.parametrize("threat_event", [{}, {"event": None}, {"event": [1]}, {"event": {"id": [1026]}}])
    def test_is_unknown_in_an_odd_event(self, threat_event: Any) -> None:
        assert explain(threat_event) == (None, "other", "unknown", None)
