"""``check``, run as a process over a real fabric."""

import queue
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme
from dxlclient.callbacks import EventCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.command_line import TIMEOUT, copy_of_configuration, make_foreign_certificates, run, without
from helpers.mosquitto import Mosquitto

from dxlthreateventclient.testing import LocalFabric

RSA = trustme.KeyType.RSA


def steps(completed: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    """Each step and its result."""
    assert completed.stderr == ""
    found = {}
    for line in completed.stdout.splitlines():
        result, name = line[:9].strip(), line[9:].split(": ")[0]
        if result in ("ok", "failed", "skipped"):
            found[name.replace("broker 127.0.0.1:", "")] = result
    return found


class Spy(EventCallback):
    """Takes note of the topics on which messages come."""

    def __init__(self) -> None:
        super().__init__()
        self.topics: queue.SimpleQueue[str] = queue.SimpleQueue()

    def on_event(self, event: Event) -> None:
        self.topics.put(event.destination_topic)


def test_all_is_well_and_nothing_is_sent_on_the_topic_of_the_threat_events(
    fabric: LocalFabric, connect: Callable[[], DxlClient]
) -> None:
    spy = Spy()
    connect().add_event_callback("#", spy)
    completed = run("check", "-c", fabric.config_file)
    assert completed.returncode == 0
    port = fabric.port
    assert steps(completed) == dict.fromkeys(
        [
            "configuration",
            "CA certificates",
            "client certificate",
            "private key",
            f"{port}, TCP",
            f"{port}, TLS",
            "message",
        ],
        "ok",
    )
    assert "CN=local-client" in completed.stdout
    assert "until 3000-01-01" in completed.stdout
    assert completed.stdout.splitlines()[-1].startswith("All is well here.")
    assert spy.topics.get(timeout=TIMEOUT).startswith("/dxlthreateventclient/echo/")
    assert spy.topics.empty()


def test_the_unfilled_template_ends_it_with_2() -> None:
    template = Path(__file__).parents[2] / "sample" / "dxlclient.config"
    completed = run("check", DXLCLIENT_CONFIG=str(template))
    assert completed.returncode == 2
    assert steps(completed) == {"configuration": "failed"}
    assert "give a value to BrokerCertChain" in completed.stdout


def test_a_missing_file_does_not_keep_the_rest_from_being_checked(
    fabric: LocalFabric, tmp_path: Path
) -> None:
    completed = run("check", "-c", copy_of_configuration(fabric, tmp_path, cert="gone.crt"))
    assert completed.returncode == 2
    assert steps(completed) == {
        "configuration": "ok",
        "CA certificates": "ok",
        "client certificate": "failed",
        "private key": "failed",
        f"{fabric.port}, TCP": "ok",
        f"{fabric.port}, TLS": "skipped",
        "message": "skipped",
    }
    assert "gone.crt: No such file or directory" in completed.stdout


def test_a_key_of_another_certificate_is_told(fabric: LocalFabric, tmp_path: Path) -> None:
    make_foreign_certificates(tmp_path)
    completed = run("check", "-c", copy_of_configuration(fabric, tmp_path, key="foreign.key"))
    assert completed.returncode == 2
    assert steps(completed)["private key"] == "failed"
    assert "key values mismatch" in completed.stdout


@pytest.mark.parametrize(
    ("replacements", "expected"),
    [
        ({"cert": "foreign.crt", "key": "foreign.key"}, "refuses the client certificate"),
        ({"ca": "foreign-ca.crt"}, "the certificate of the broker"),
    ],
)
def test_a_refusal_of_either_side_is_told_from_the_other(
    fabric: LocalFabric, tmp_path: Path, replacements: dict[str, str], expected: str
) -> None:
    make_foreign_certificates(tmp_path)
    completed = run("check", "-c", copy_of_configuration(fabric, tmp_path, **replacements))
    assert completed.returncode == 1
    assert {name: result for name, result in steps(completed).items() if result != "ok"} == {
        f"{fabric.port}, TLS": "failed",
        "message": "skipped",
    }
    assert expected in completed.stdout


def test_each_broker_is_tried_and_one_that_works_is_enough_for_the_message(
    fabric: LocalFabric, tmp_path: Path
) -> None:
    config_file = copy_of_configuration(fabric, tmp_path)
    config_file.write_text(config_file.read_text().replace("[Brokers]", "[Brokers]\ndown = down;1;127.0.0.1"))
    completed = run("check", "-c", config_file)
    assert completed.returncode == 1
    assert steps(completed)["1, TCP"] == "failed"
    assert steps(completed)[f"{fabric.port}, TLS"] == "ok"
    assert steps(completed)["message"] == "ok"


@pytest.mark.parametrize(
    ("begins", "ends", "result", "expected"),
    [
        (-20, -10, "failed", "and the clock of this machine says"),
        (10, 20, "failed", "and the clock of this machine says"),
        (-10, 20, "ok", "in 19 days: replace it soon"),
    ],
)
def test_a_certificate_that_is_not_valid_now_or_not_for_long_is_told(
    fabric: LocalFabric, tmp_path: Path, *, begins: int, ends: int, result: str, expected: str
) -> None:
    now = datetime.now(timezone.utc)
    certificate = fabric._ca.issue_cert(
        common_name="dated",
        key_type=RSA,
        not_before=now + timedelta(days=begins),
        not_after=now + timedelta(days=ends),
    )
    config_file = copy_of_configuration(fabric, tmp_path)
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "client.crt")
    certificate.private_key_pem.write_to_path(tmp_path / "client.key")
    completed = run("check", "-c", config_file)
    assert steps(completed)["client certificate"] == result
    assert steps(completed)[f"{fabric.port}, TLS"] == result
    assert expected in completed.stdout
    assert completed.returncode == (0 if result == "ok" else 2)


def test_a_file_that_holds_no_certificate_is_told(fabric: LocalFabric, tmp_path: Path) -> None:
    config_file = copy_of_configuration(fabric, tmp_path)
    (tmp_path / "client.crt").write_text("-----BEGIN CERTIFICATE-----\njunk\n")
    completed = run("check", "-c", config_file)
    assert completed.returncode == 2
    assert steps(completed)["client certificate"] == "failed"
    assert "client.crt holds no certificate in PEM format" in completed.stdout


def test_ca_certificates_are_fine_as_long_as_one_of_them_is_valid(
    fabric: LocalFabric, tmp_path: Path
) -> None:
    config_file = copy_of_configuration(fabric, tmp_path)
    expired = trustme.CA(key_type=RSA).issue_cert(
        "expired", key_type=RSA, not_after=datetime(2020, 1, 1, tzinfo=timezone.utc)
    )
    bundle = tmp_path / "ca-bundle.crt"
    with bundle.open("ab") as file:
        file.write(expired.cert_chain_pems[0].bytes())
    completed = run("check", "-c", config_file)
    assert completed.returncode == 0
    assert "1 of 2 CA certificates valid" in completed.stdout
    bundle.write_bytes(expired.cert_chain_pems[0].bytes())
    completed = run("check", "-c", config_file)
    assert completed.returncode == 2
    assert steps(completed)["CA certificates"] == "failed"
    assert "2020-01-01 00:00 UTC, and the clock of this machine says" in completed.stdout


def test_a_key_with_a_password_is_told_instead_of_asked_for(fabric: LocalFabric, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    config_file = copy_of_configuration(fabric, tmp_path)
    key = serialization.load_pem_private_key((tmp_path / "client.key").read_bytes(), None)
    (tmp_path / "client.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    completed = run("check", "-c", config_file)
    assert completed.returncode == 2
    assert steps(completed)["private key"] == "failed"
    assert "without a password" in completed.stdout


def over_websockets(config_file: Path, port: int, **settings: str) -> Path:
    text = config_file.read_text().replace(
        "[BrokersWebSockets]", f"[BrokersWebSockets]\nlocal = local;{port};127.0.0.1"
    )
    proxy = "".join(f"{name} = {value}\n" for name, value in settings.items())
    config_file.write_text(f"{text}[General]\nUseWebSockets = yes\n[Proxy]\n{proxy}")
    return config_file


def check_without_waiting_long(config_file: Path) -> "subprocess.CompletedProcess[str]":
    code = """
import sys
from dxlclient.client import DxlClient
from dxlthreateventclient._cli import connection, main
connection._CONNECT_WITHIN = DxlClient._DEFAULT_CONNECT_WAIT = 0.5
sys.exit(main())
"""
    return run("check", "-c", config_file, program=[sys.executable, "-c", code])


def test_it_says_what_it_cannot_check_behind_a_proxy(fabric: LocalFabric, tmp_path: Path) -> None:
    config_file = copy_of_configuration(fabric, tmp_path)
    completed = check_without_waiting_long(over_websockets(config_file, 443, Address="127.0.0.1", Port="1"))
    assert completed.returncode == 1
    assert steps(completed)["443"] == "skipped"
    assert steps(completed)["message"] == "failed"


def test_over_websockets_it_goes_as_far_as_tls_and_does_not_wait_for_ever(
    fabric: LocalFabric, tmp_path: Path
) -> None:
    config_file = copy_of_configuration(fabric, tmp_path)
    completed = check_without_waiting_long(over_websockets(config_file, fabric.port))
    # The local fabric speaks no WebSockets.
    assert completed.returncode == 1
    assert steps(completed)[f"{fabric.port}, TLS"] == "ok"
    assert steps(completed)["message"] == "failed"
    assert "no answer within" in completed.stdout


def test_without_the_extra_it_says_what_to_install(fabric: LocalFabric) -> None:
    completed = run("check", "-c", fabric.config_file, program=without("cryptography"))
    assert completed.returncode == 2
    assert "pip install 'dxlthreateventclient[cli]'" in completed.stderr
    assert completed.stderr.count("\n") == 1


@pytest.mark.servers
def test_mosquitto_accepts_the_client_and_refuses_a_stranger_over_tls_1_3(tmp_path: Path) -> None:
    make_foreign_certificates(tmp_path)
    with Mosquitto() as broker:
        assert set(steps(run("check", "-c", broker.config_file)).values()) == {"ok"}
        foreign = tmp_path / "foreign.config"
        foreign.write_text(
            broker.config_file.read_text()
            .replace("ca.crt", str(broker.directory / "ca.crt"))
            .replace("CertFile = client.pem", "CertFile = foreign.crt")
            .replace("PrivateKey = client.pem", "PrivateKey = foreign.key")
        )
        completed = run("check", "-c", foreign)
        assert completed.returncode == 1
        assert steps(completed)[f"{broker.port}, TLS"] == "failed"
        for arguments in (["check"], ["publish"], ["listen"]):
            completed = run(*arguments, "-c", foreign)
            assert completed.returncode == 1
            assert "refuses the client certificate" in completed.stdout + completed.stderr
            assert "Traceback" not in completed.stderr
