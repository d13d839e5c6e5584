"""Each subcommand that reads a configuration, run with every broken configuration in the table."""

import json
import sys
from pathlib import Path

import pytest
from helpers.broken_files import KINDS, write_good
from helpers.command_line import run

# Runs a subcommand with many configurations in one process. Prints each run's exit status and output.
PROGRAM = """
import contextlib, io, json, sys
from dxlthreateventclient._cli import main

for config_file in sys.stdin.read().splitlines():
    errors, output = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
        status = main([sys.argv[1], "--config", config_file])
    written = output.buffer.getvalue().decode()
    print(json.dumps([status, written, errors.getvalue()]), file=sys.__stdout__)
"""


@pytest.mark.parametrize("subcommand", ["listen", "check", pytest.param("publish", marks=pytest.mark.slow)])
def test_each_is_one_line_and_the_status_2(tmp_path: Path, subcommand: str) -> None:
    config_files = []
    for number, kind in enumerate(KINDS.values()):
        directory = tmp_path / str(number)
        directory.mkdir()
        config_files.append(write_good(directory))
        kind.spoil(config_files[-1])
    program = [sys.executable, "-c", PROGRAM]
    completed = run(subcommand, program=program, stdin="\n".join(map(str, config_files)))
    assert (completed.returncode, completed.stderr) == (0, "")
    results = [json.loads(line) for line in completed.stdout.splitlines()]
    for name, config_file, (status, output, errors) in zip(KINDS, config_files, results, strict=True):
        assert status == 2, name
        # ``check`` writes its report to stdout, ending with the most likely cause.
        said, silent = (output, errors) if subcommand == "check" else (errors, output)
        assert silent == "", name
        assert f"{config_file}: " in said.splitlines()[-1], name
        assert subcommand == "check" or said.count("\n") == 1, name
        assert "Traceback" not in said, name
