"""The first programs that new users copy run unchanged, with only a configuration."""

import os
from pathlib import Path

import pytest
from dxlclient.client import DxlClient
from helpers.pages import ROOT, Block, blocks
from helpers.program import running
from helpers.waiting import until

from dxlthreateventclient.testing import LocalFabric, publish_threat_event, sample_threat_event

PROGRAMS = [
    block
    for page in ("README.md", "docs/index.rst", "docs/quickstart.rst", "docs/asyncio.rst")
    for block in blocks(ROOT / page, "python")
    if page == "README.md" or ("load_configuration(" in block.content and not block.not_run)
]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_a_program_prints_an_event(program: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    monkeypatch.setenv("DXLCLIENT_CONFIG", "my-fabric/dxlclient.config")
    with (
        LocalFabric(directory="my-fabric") as fabric,
        DxlClient(fabric.client_config()) as epo,
        running(program.content) as process,
    ):
        epo.connect()
        assert process.stdout
        os.set_blocking(process.stdout.fileno(), False)

        def has_printed() -> bool:
            # Publish repeatedly, because the program may not have subscribed yet.
            publish_threat_event(epo, sample_threat_event(threatName="good"))
            return bool(process.stdout and "good" in process.stdout.readline())

        until(has_printed, "it prints the event")
