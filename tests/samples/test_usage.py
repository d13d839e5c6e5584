"""The advanced samples report incorrect usage and missing extras."""

import json
import subprocess
import sys
from pathlib import Path

from helpers.samples import ROOT

# Runs many command lines in one process. Prints each command line's exit status and output.
PROGRAM = """
import contextlib, io, json, runpy, sys

directory, *missing = sys.argv[1:]
sys.modules |= dict.fromkeys(missing)
for line in sys.stdin.read().splitlines():
    script, *sys.argv[1:] = line.split()
    errors, output, status = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
        try:
            runpy.run_path(f"{directory}/{script}", run_name="__main__")
        except SystemExit as end:
            status = end.code
    print(json.dumps([status, output.getvalue(), errors.getvalue()]))
"""

# Incorrect command lines, each with part of the expected message.
WRONG = {
    "stream_example.py --severity 8": "invalid choice: 8",
    "error_handling_example.py --replay missing": "No such file",
    "store_and_forward_example.py": "required: url",
    "store_and_forward_example.py localhost:8080": "must start with http:// or https://, got 'local",
    "store_and_forward_example.py http://127.0.0.1:9": "cannot write to the directory threat-event-",
    "redis_stream_example.py --redis nonsense": "'nonsense': Redis URL must specify",
    "redis_worker_example.py --take-over-after -1": "got '-1'",
    "kafka_example.py missing": "cannot read missing: [Errno 2]",
    "kafka_example.py no-json": "no-json, line 1: must be name=value",
    "kafka_worker_example.py no-kafka": 'No such configuration property: "a"',
    "syslog_cef_example.py 127.0.0.1 1 --tls --ca missing": "cannot use missing",
    "syslog_cef_example.py 127.0.0.1 1 --octet-counting": "--octet-counting needs --tcp",
    "syslog_cef_example.py 127.0.0.1 65536": "port must be at most 65535, got 65536",
}

NEEDED = {
    **dict.fromkeys(("kafka_example.py", "kafka_worker_example.py"), "confluent_kafka"),
    **dict.fromkeys(("redis_stream_example.py", "redis_worker_example.py"), "redis"),
    "store_and_forward_example.py": "requests",
    "syslog_cef_example.py": "tenacity",
}


def results(directory: Path, lines: dict[str, str], *missing: str) -> list[tuple[str, str, str]]:
    """Return each command line with its expected message and stderr. Check that the exit status is 2."""
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "sample" / "advanced"), *missing]
    completed = subprocess.run(
        command, cwd=directory, input="\n".join(lines), capture_output=True, text=True, timeout=30, check=True
    )
    found = [json.loads(line) for line in completed.stdout.splitlines()]
    assert [result[:2] for result in found] == [[2, ""]] * len(lines)
    return [(line, what, errors) for (line, what), (_, _, errors) in zip(lines.items(), found, strict=True)]


def test_wrong_usage_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "no-json").write_text("no JSON\n")
    (tmp_path / "no-kafka").write_text("a=b\n")
    (tmp_path / "threat-event-queue").touch()
    for line, complaint, errors in results(tmp_path, WRONG):
        usage, _, message = errors.partition(f"{line.split()[0]}: error: ")
        assert usage.startswith("usage: "), line
        assert message.count("\n") == 1, line
        assert complaint in message, line


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    for sample, package, errors in results(tmp_path, NEEDED, *NEEDED.values()):
        missing = f"import of {package} halted; None in sys.modules"
        assert errors == f"{missing}: pip install 'dxlthreateventclient[samples]'\n", sample
