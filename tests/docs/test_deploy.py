"""The files for running ``listen`` as a service, tested without systemd or a container engine."""

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.command_line import TIMEOUT, Command
from helpers.receiving import publish_until_all_have_them
from helpers.waiting import until

from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.testing import LocalFabric

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "epo-threat-events.service"
SCRIPT = Path(sys.executable).with_name("dxlthreateventclient")


def instructions(file: Path) -> list[tuple[str, str]]:
    """Return the keyword and value on each line of a systemd unit or a Containerfile."""
    lines = re.sub(r"\\\n\s*", "", file.read_text()).splitlines()
    return [
        (word, rest.strip())
        for line in lines
        if not line.startswith("#") and (match := re.match(r"(\w+)[= ](.*)", line))
        for word, rest in [match.groups()]
    ]


class TestTheUnit:
    @pytest.mark.servers
    def test_is_verified_by_systemd(self, tmp_path: Path) -> None:
        """systemd-analyze always exits with status 0, so check that it prints no messages."""
        unit = tmp_path / UNIT.name

        def verified(text: str) -> str:
            unit.write_text(text.replace("/opt/epo-threat-events/bin", str(SCRIPT.parent)))
            command = ["systemd-analyze", "verify", str(unit)]
            completed = subprocess.run(command, capture_output=True, text=True, check=False)
            return completed.stdout + completed.stderr

        assert verified(UNIT.read_text()) == ""
        assert "Unknown key" in verified(UNIT.read_text().replace("Watchdog", "Watchdogs"))

    def test_runs_with_the_credentials_alone(self, fabric: LocalFabric, tmp_path: Path) -> None:
        settings = instructions(UNIT)
        for name in ("L/epo-threat-events", "t/epo-threat-events", "d"):
            (tmp_path / name).mkdir(parents=True)
        for word, value in settings:
            if word == "LoadCredential":
                name, path = value.split(":")
                shutil.copy(fabric.directory / Path(path).name, tmp_path / "d" / name)
        specifiers = {"%%": "%"} | {f"%{letter}": f"{tmp_path}/{letter}" for letter in "Ltd"}
        resolved = {word: re.sub("%.", lambda found: specifiers[found[0]], value) for word, value in settings}
        _, *arguments = shlex.split(resolved["ExecStart"])
        name, _, value = resolved["Environment"].partition("=")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(tmp_path / "notify"))
            systemd.settimeout(TIMEOUT)
            assert name == "DXLCLIENT_CONFIG"
            notify = str(tmp_path / "notify")
            with Command(*arguments, DXLCLIENT_CONFIG=value, NOTIFY_SOCKET=notify) as listen:
                while "READY=1" not in systemd.recv(4096).decode():
                    pass
                assert listen.end(signal.SIGTERM) == 0
        [dated, rejected] = sorted(file.name for file in (tmp_path / "L/epo-threat-events").iterdir())
        assert (re.sub(r"\d", "0", dated), rejected) == ("0000-00-00.ndjson", "rejected.jsonl")


class TestTheContainer:
    STEPS = instructions(ROOT / "deploy" / "Containerfile")

    @pytest.mark.slow
    def test_holds_what_the_package_is_built_from(self, tmp_path: Path) -> None:
        for word, value in self.STEPS:
            if word == "COPY":
                *sources, target = value.split()
                for source in sources:
                    if (ROOT / source).is_dir():
                        shutil.copytree(ROOT / source, f"{tmp_path}{target}")
                    else:
                        (tmp_path / target.lstrip("/")).mkdir(exist_ok=True)
                        shutil.copy(ROOT / source, f"{tmp_path}{target}")
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*build, "--wheel-dir", tmp_path / "dist", tmp_path / "src"], check=True)
        assert len(list((tmp_path / "dist").glob("*.whl"))) == 1
        assert "pip install --no-cache-dir /src " in dict(self.STEPS)["RUN"]

    def test_runs_as_a_user_and_is_healthy(
        self, fabric: LocalFabric, dxl_client: DxlClient, tmp_path: Path
    ) -> None:
        steps = dict(self.STEPS)
        assert steps["USER"] == "10001:10001"
        (tmp_path / "data").mkdir()
        (tmp_path / "tmp").mkdir()

        def moved(text: str) -> str:
            return re.sub("/(data|tmp)/", rf"{tmp_path}/\1/", text)

        [program] = json.loads(steps["ENTRYPOINT"])
        assert program == SCRIPT.name
        arguments = [moved(word) for word in json.loads(steps["CMD"])]
        with Command(*arguments, DXLCLIENT_CONFIG=str(fabric.config_file)) as listen:
            listen.errors.wait_for("Waiting for threat events")
            publish_until_all_have_them(dxl_client, EPO_THREAT_EVENT_RESPONSE_TOPIC, 3)
            health = ["sh", "-c", moved(steps["HEALTHCHECK"].removeprefix("CMD "))]
            until(lambda: subprocess.run(health, check=False).returncode == 0, "it is healthy")
            assert listen.end(getattr(signal, steps["STOPSIGNAL"])) == 0
        [file] = (tmp_path / "data").glob("*.ndjson")
        assert len(file.read_text().splitlines()) >= 3
        (tmp_path / "tmp" / "health.json").unlink()
        assert subprocess.run(health, capture_output=True, check=False).returncode == 1
