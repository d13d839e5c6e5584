"""Run random programs and check their event deliveries against a model. See attack.py."""

import subprocess
import sys
from pathlib import Path

import pytest

ATTACK = [sys.executable, "-W", "ignore::DeprecationWarning", str(Path(__file__).with_name("attack.py"))]


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["mosquitto", "fabric"])
def test_no_promise_is_broken_by_the_programs_of_one_seed(broker: str) -> None:
    options = ["--seed", "9", "--seconds", "30", "--broker", broker]
    attack = subprocess.run([*ATTACK, *options], capture_output=True, text=True, check=False)
    assert attack.returncode == 0, attack.stdout + attack.stderr
    print(attack.stdout)
