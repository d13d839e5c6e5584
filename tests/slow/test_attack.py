"""Random programs against a model of what must be delivered: see attack.py."""

import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 120


@pytest.mark.slow
@pytest.mark.timeout(5 * SECONDS)
@pytest.mark.parametrize("broker", ["mosquitto", "fabric"])
def test_no_promise_is_broken_by_the_programs_of_one_seed(broker: str) -> None:
    program = [sys.executable, "-W", "ignore::DeprecationWarning", str(Path(__file__).with_name("attack.py"))]
    attack = subprocess.run(
        [*program, "--seed", "9", "--seconds", str(SECONDS / 2), "--broker", broker],
        capture_output=True,
        text=True,
        check=False,
    )
    assert attack.returncode == 0, attack.stdout + attack.stderr
    print(attack.stdout)
