"""How the advanced samples report wrong usage, and a missing extra."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.advanced_sample import ROOT

ADVANCED = ROOT / "sample" / "advanced"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("stream_example.py --severity 8", "invalid choice: 8"),
        ("stream_example.py --count 0", "must be a whole number from 1 to"),
        (f"stream_example.py --count {10**20}", f"got '{10**20}'"),
        ("error_handling_example.py --replay missing", "No such file"),
        ("store_and_forward_example.py", "required: url"),
        ("store_and_forward_example.py localhost:8080", "must start with http:// or https://, got 'local"),
        ("store_and_forward_example.py http://127.0.0.1:9", "cannot write to the directory threat-event-"),
        ("redis_stream_example.py --redis nonsense", "'nonsense': Redis URL must specify"),
        ("redis_worker_example.py --redis nonsense", "'nonsense': Redis URL must specify"),
        ("kafka_example.py missing", "cannot read missing: [Errno 2]"),
        ("kafka_example.py no-json", "no-json, line 1: must be name=value"),
        ("kafka_worker_example.py no-kafka", 'No such configuration property: "a"'),
        ("syslog_cef_example.py 127.0.0.1 1 --tls --ca missing", "cannot use missing"),
        ("syslog_cef_example.py 127.0.0.1 1 --octet-counting", "--octet-counting needs --tcp"),
        ("redis_worker_example.py --take-over-after -1", "got '-1'"),
        ("syslog_cef_example.py 127.0.0.1", "required: port"),
        ("syslog_cef_example.py 127.0.0.1 65536", "port must be at most 65535, got 65536"),
    ],
)
def test_wrong_usage_is_reported_in_one_line(tmp_path: Path, arguments: str, complaint: str) -> None:
    (tmp_path / "no-json").write_text("no JSON\n")
    (tmp_path / "no-kafka").write_text("a=b\n")
    (tmp_path / "threat-event-queue").touch()
    script, *options = arguments.split()
    completed = subprocess.run(
        [sys.executable, ADVANCED / script, *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (completed.returncode, completed.stdout) == (2, "")
    usage, _, message = completed.stderr.partition(f"{script}: error: ")
    assert usage.startswith("usage: ")
    assert message.count("\n") == 1
    assert complaint in message


@pytest.mark.parametrize(
    ("sample", "package"),
    [
        ("kafka_example.py", "confluent_kafka"),
        ("kafka_worker_example.py", "confluent_kafka"),
        ("store_and_forward_example.py", "requests"),
        ("redis_stream_example.py", "redis"),
        ("redis_worker_example.py", "redis"),
        ("syslog_cef_example.py", "tenacity"),
    ],
)
def test_a_missing_extra_is_named(tmp_path: Path, sample: str, package: str) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('No module named {package}')")
    completed = subprocess.run(
        [sys.executable, ADVANCED / sample],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert completed.returncode == 2
    assert completed.stderr == f"No module named {package}: pip install 'dxlthreateventclient[samples]'\n"
