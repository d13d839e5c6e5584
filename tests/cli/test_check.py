"""``check``, run as a process against a real fabric."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from helpers.broken_brokers import tls
from helpers.broken_files import write_good
from helpers.certificates import fabric_ca, issue
from helpers.command_line import (
    PROGRAM,
    copy_of_configuration,
    make_foreign_certificates,
    run,
    shown_on_terminal,
    without,
)
from helpers.misbehaving import server
from helpers.mosquitto import Mosquitto
from helpers.receiving import Receiver
from helpers.stub_broker import GRANTED, REFUSED, stub_broker
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import LocalFabric


def steps(completed: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    """Return the result of each step."""
    assert completed.stderr == ""
    lines = re.findall(r"^(ok|warning|failed|skipped) +(.*?): ", completed.stdout, re.MULTILINE)
    return {name: result for result, name in lines}


def last_line(completed: "subprocess.CompletedProcess[str]") -> str:
    return completed.stdout.splitlines()[-1]


def test_all_is_well_without_an_extra_or_a_threat_event() -> None:
    everything = Receiver()
    with LocalFabric() as fabric, DxlClient(fabric.client_config()) as dxl_client:
        dxl_client.connect()
        CommonThreatEventClient(dxl_client).add_threat_event_callback(everything, "#")
        program = without("amqtt", "cryptography", "trustme")
        completed = run("check", "-c", fabric.config_file, program=program)
        until(lambda: bool(everything.handled or everything.errors), "the message of check arrives")
    assert completed.returncode == 0
    port = fabric.port
    names = ["configuration", "CA certificates", "client certificate", "private key"]
    assert steps(completed) == dict.fromkeys(
        [*names, f"broker 127.0.0.1:{port}", "message", "subscription"], "ok"
    )
    assert "(Common Name: local-client, " in completed.stdout
    assert completed.stdout.count("until 3000-01-01") == 3
    assert last_line(completed).startswith("All is well here.")
    page = (Path(__file__).parents[2] / "docs" / "commandline.rst").read_text(encoding="utf-8")
    shown = re.findall(r"^    ok       (?!broker )(.*?):", page, re.MULTILINE)
    assert shown == [*names, "message", "subscription"]
    [(_, echo)] = everything.handled + everything.errors
    assert echo.destination_topic.startswith("/dxlthreateventclient/echo/")


def test_json_is_one_object(fabric: LocalFabric, tmp_path: Path) -> None:
    good, bad = (
        run("check", "--json", "-c", config_file)
        for config_file in (fabric.config_file, copy_of_configuration(fabric, tmp_path, port=";1;"))
    )
    documents: list[dict[str, Any]] = [json.loads(completed.stdout) for completed in (good, bad)]
    assert [document["status"] for document in documents] == [good.returncode, bad.returncode] == [0, 1]
    assert documents[0]["cause"] is None
    assert documents[1]["cause"].startswith("broker 127.0.0.1:1: cannot reach")
    assert [step["result"] for step in documents[0]["steps"]] == ["ok"] * 7
    assert set(documents[0]["steps"][0]) == {"step", "result", "detail"}


def test_a_missing_file_does_not_end_it(fabric: LocalFabric, tmp_path: Path) -> None:
    completed = run("check", "-c", copy_of_configuration(fabric, tmp_path, ca="gone"))
    assert completed.returncode == 2
    broker = f"broker 127.0.0.1:{fabric.port}"
    names = ("configuration", "client certificate", "private key", broker)
    assert steps(completed) == dict.fromkeys(names, "ok") | {
        "CA certificates": "failed",
        "message": "skipped",
    }
    assert last_line(completed).startswith("Most likely cause: CA certificates: ")
    assert "gone) cannot be read" in last_line(completed)


def test_each_broker_is_tried_and_one_is_enough(fabric: LocalFabric, tmp_path: Path) -> None:
    """``check`` reports the failure that a retry cannot fix, even if it was not the first failure."""
    make_foreign_certificates(tmp_path)
    config_file = copy_of_configuration(fabric, tmp_path)
    down = config_file.read_text().replace("[Brokers]", "[Brokers]\ndown = down;1;127.0.0.1")
    config_file.write_text(down)
    completed = run("check", "-c", config_file)
    assert completed.returncode == 1
    found = steps(completed)
    assert (found["broker 127.0.0.1:1"], found["message"]) == ("failed", "ok")
    assert "cannot reach 127.0.0.1:1" in last_line(completed)
    config_file.write_text(down.replace("ca-bundle.crt", "foreign-ca.crt"))
    assert "foreign-ca.crt" in last_line(run("check", "-c", config_file))


def test_a_closed_pipe_does_not_hide_the_result() -> None:
    """``check | head -n 1`` closes the pipe."""
    for options in "", " --json":
        command = f"{' '.join(PROGRAM)} check --config /missing{options} | true; exit ${{PIPESTATUS[0]}}"
        assert subprocess.run(["bash", "-c", command], check=False).returncode == 2


def test_warn_days_is_an_alarm(fabric: LocalFabric) -> None:
    completed = run("check", "-c", fabric.config_file, "--warn-days", 1_000_000)
    assert completed.returncode == 1
    dated = ("CA certificates", "client certificate", f"broker 127.0.0.1:{fabric.port}")
    assert {name for name, result in steps(completed).items() if result == "warning"} == {*dated}


def test_another_warning_is_no_alarm(fabric: LocalFabric, tmp_path: Path) -> None:
    """The warnings concern a key readable by other users and an unused setting."""
    config_file = copy_of_configuration(fabric, tmp_path)
    (tmp_path / "client.key").chmod(0o644)
    config_file.write_text(f"{config_file.read_text()}\n[Proxy]\nUsername = secret\n")
    completed = run("check", "-c", config_file, "--warn-days", 1)
    assert completed.returncode == 0
    assert steps(completed)["private key"] == "warning"
    assert "other users can read it" in completed.stdout
    assert f"warning  configuration: {config_file}: Username in [Proxy] is not read" in completed.stdout
    assert "secret" not in completed.stdout


def test_a_certificate_that_expires_soon_is_a_warning(tmp_path: Path) -> None:
    dated = issue("client", fabric_ca(), ends=20)
    config_file = write_good(tmp_path)
    (tmp_path / "client.crt").write_text(dated.pem)
    (tmp_path / "client.key").write_text(dated.key_pem)
    completed = run("check", "-c", config_file)
    assert steps(completed)["client certificate"] == "warning"
    assert "in 19 days: renew it soon" in completed.stdout


def test_a_broker_certificate_that_is_not_valid_yet(tmp_path: Path) -> None:
    config_file = write_good(tmp_path)
    with server(tls(lambda: issue("broker", fabric_ca(), begins=10))) as port:
        config_file.write_text(config_file.read_text().replace(";8883;", f";{port};"))
        completed = run("check", "-c", config_file)
    assert steps(completed)[f"broker 127.0.0.1:{port}"] == "failed"
    assert "set the clock of this machine" in last_line(completed)


def test_a_refused_subscription_is_the_cause(tmp_path: Path) -> None:
    config_file = tmp_path / "dxlclient.config"
    with stub_broker(tmp_path) as broker:
        broker.answer = lambda topic: REFUSED if topic == EPO_THREAT_EVENT_RESPONSE_TOPIC else GRANTED
        config = broker.client_config()
        config_file.write_text(
            f"[Certs]\nBrokerCertChain = {config.broker_ca_bundle}\nCertFile = {config.cert_file}\n"
            f"PrivateKey = {config.private_key}\n[Brokers]\nb = b;{config.brokers[0].port};127.0.0.1\n"
        )
        completed = run("check", "-c", config_file)
    assert completed.returncode == 1
    assert "\nok       message: " in completed.stdout
    cause = f"subscription: the broker has not acknowledged {EPO_THREAT_EVENT_RESPONSE_TOPIC}"
    assert last_line(completed) == f"Most likely cause: {cause}"


def test_a_terminal_gets_colors(fabric: LocalFabric) -> None:
    shown = shown_on_terminal("check", "-c", fabric.config_file)
    assert "\x1b[32mok       \x1b[0mconfiguration: " in shown


@pytest.mark.servers
def test_mosquitto_accepts_the_client_and_refuses_a_stranger(tmp_path: Path) -> None:
    make_foreign_certificates(tmp_path)
    with Mosquitto() as broker:
        completed = run("check", "-c", broker.config_file)
        assert completed.returncode == 0
        assert steps(completed)["message"] == "ok"
        foreign = tmp_path / "foreign.config"
        foreign.write_text(
            broker.config_file.read_text()
            .replace("ca.crt", str(broker.directory / "ca.crt"))
            .replace("CertFile = client.pem", "CertFile = foreign.crt")
            .replace("PrivateKey = client.pem", "PrivateKey = foreign.key")
        )
        for subcommand in ("check", "publish", "listen"):
            completed = run(subcommand, "-c", foreign)
            assert completed.returncode == 1
            assert "refuses the client certificate" in completed.stdout + completed.stderr
            assert "Traceback" not in completed.stderr
