"""A usable configuration and all kinds of unusable ones."""

import re
from pathlib import Path

import pytest
from helpers.broken_files import CONFIG, FORMS, KINDS, Broken, Content, put, write_good
from helpers.certificates import fabric_ca, issue

from dxlthreateventclient import ConfigurationError, load_configuration
from dxlthreateventclient.configuration import steps

TEMPLATE = Path(__file__).parents[2] / "sample" / "dxlclient.config"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return write_good(tmp_path)


class TestABrokenConfiguration:
    @pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
    def test_is_refused_with_what_to_do(self, config_file: Path, kind: Broken) -> None:
        kind.spoil(config_file)
        with pytest.raises(ConfigurationError) as raised:
            load_configuration(config_file)
        message = str(raised.value)
        assert message.startswith(f"{config_file}: ")
        assert [words for words in kind.words.split(" | ") if words not in message] == [], message
        assert str(next(step.error for step in steps(config_file) if step.error)) == message

    @pytest.mark.parametrize(("words", "content"), FORMS.items(), ids=FORMS)
    def test_says_in_which_other_form_a_file_is(
        self, config_file: Path, words: str, content: Content
    ) -> None:
        put("client.crt", content)(config_file)
        with pytest.raises(ConfigurationError) as raised:
            load_configuration(config_file)
        assert words in str(raised.value)

    def test_of_the_samples_says_what_to_fill_in(self) -> None:
        with pytest.raises(ConfigurationError, match="BrokerCertChain, CertFile, PrivateKey"):
            load_configuration(TEMPLATE)


class TestACompleteConfiguration:
    def test_is_loaded_with_a_keep_alive_of_a_minute(self, config_file: Path) -> None:
        config = load_configuration(config_file)
        assert [broker.port for broker in config.brokers] == [8883]
        assert config.keep_alive_interval == 60

    def test_has_details_for_each_step(self, config_file: Path) -> None:
        directory = config_file.parent
        found = [
            (step.name, re.sub(r"\d{4}-\d\d-\d\d", "<date>", step.detail)) for step in steps(config_file)
        ]
        assert found == [
            ("configuration", f"{config_file} is complete; brokers in [Brokers]: 1"),
            (
                "CA certificates",
                f"{directory}/ca.crt: 1 of 1 certificates are valid, until <date>",
            ),
            ("client certificate", f"{directory}/client.crt is valid until <date> (Common Name: client)"),
            ("private key", f"{directory}/client.key belongs to the certificate"),
        ]

    @pytest.mark.parametrize("variable", ["elsewhere.config", None])
    def test_is_found_without_being_named(
        self, config_file: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
    ) -> None:
        monkeypatch.chdir(config_file.parent)
        monkeypatch.delenv("DXLCLIENT_CONFIG", raising=False)
        if variable:
            config_file.rename(config_file.with_name(variable))
            monkeypatch.setenv("DXLCLIENT_CONFIG", variable)
        assert load_configuration().cert_file == "client.crt"

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            pytest.param("dxlclient.config", "\ufeff", id="byte order mark"),
            pytest.param("client.crt", "\ufeff", id="byte order mark in PEM"),
            pytest.param("client.crt", "Subject: client\n", id="text before PEM"),
            pytest.param("ca.crt", "MICROSOFT CA <ca>\n", id="a title before PEM"),
            pytest.param("ca.crt", "# -----BEGIN CERTIFICATE-----\n", id="a comment in PEM"),
            pytest.param("dxlclient.config", "[General]\nNote = a, b\nOther = %(x)s\n", id="other settings"),
        ],
    )
    def test_may_begin_with_what_tools_write(self, config_file: Path, name: str, content: str) -> None:
        file = config_file.with_name(name)
        text = content + file.read_text()
        put(name, lambda: text)(config_file)
        load_configuration(config_file)

    def test_may_have_other_certificates_beside_valid_ones(self, config_file: Path) -> None:
        old = issue("old", is_ca=True, begins=-9, ends=-2)
        put("ca.crt", lambda: fabric_ca().pem + old.pem)(config_file)
        assert "1 of 2 certificates are valid" in list(steps(config_file))[1].detail

    def test_warns_of_a_key_that_others_can_read(self, config_file: Path) -> None:
        config_file.with_name("client.key").chmod(0o644)
        assert list(steps(config_file))[-1].detail.endswith("other users can read it: use 'chmod 600'")

    @pytest.mark.parametrize(
        ("lines", "warning"),
        [
            ("[General]\nuseWebSocketBrokers = no", "is UseWebSockets in [General] meant?"),
            ("[Proxy]\nUsername = secret", "Username in [Proxy] is not read; is User in [Proxy] meant?"),
            ("[BrokersWebSocket]", "[BrokersWebSocket] is not read; is [BrokersWebSockets] meant?"),
            ("[General]\nxyz = secret", "xyz in [General] is not read"),
        ],
    )
    def test_warns_of_names_that_dxlclient_does_not_read(
        self, config_file: Path, caplog: pytest.LogCaptureFixture, lines: str, warning: str
    ) -> None:
        config_file.write_text(f"{CONFIG}{lines}\n")
        load_configuration(config_file)
        assert caplog.messages == [step.detail for step in steps(config_file) if step.is_warning]
        assert caplog.text.count(warning) == 1
        assert "secret" not in caplog.text

    def test_may_have_a_section_for_others_without_a_warning(
        self, config_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        config_file.write_text(f"{CONFIG}[Mine]\nUser = x\n")
        load_configuration(config_file)
        assert caplog.messages == []

    def test_of_a_broken_certificate_still_has_its_key_checked(self, config_file: Path) -> None:
        put("client.crt", str)(config_file)
        put("client.key", str)(config_file)
        assert [step.name for step in steps(config_file) if step.error] == [
            "client certificate",
            "private key",
        ]


class TestTheBroker:
    TWO = "one = {1111};8883;one.example.com\ntwo = {2222};8884;two.example.com;192.0.2.2\n"

    @pytest.mark.parametrize("section", ["Brokers", "BrokersWebSockets"])
    def test_of_an_id_is_the_only_one_left(self, config_file: Path, section: str) -> None:
        text = config_file.read_text().replace("one = one;8883;127.0.0.1\n", "")
        config_file.write_text(text.replace(f"[{section}]\n", f"[{section}]\n{self.TWO}"))
        config = load_configuration(config_file, broker="two")
        assert [broker.host_name for broker in config.brokers] == ["two.example.com"]

    def test_of_an_unknown_id_is_refused(self, config_file: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"\[Brokers\] has no broker 'three'; it has one"):
            load_configuration(config_file, broker="three")
