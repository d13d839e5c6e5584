"""Run every example in README.md, docs/ and the docstrings against a real fabric.

A page's Python blocks run as if pasted by a reader: in order, in one namespace, and in a directory that
contains a ``dxlclient.config`` file. A simulated ePO continuously publishes threat events. The names
``config``, ``dxl_client`` (connected), ``client`` and ``MyCallback`` are defined. A block that is a whole
program uses only its own names and must print something. If a block runs forever, the test waits for the
output shown on the page (or for any output if the page shows none) and then for three more lines before it
sends Ctrl-C. A captioned block is saved in a file named after its caption. If a saved file is a test, pytest
runs it.
"""

import builtins
import contextlib
import doctest
import importlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dxlclient.client import DxlClient
from helpers.pages import MODULES, PAGES, ROOT, Block, blocks

import dxlthreateventclient
from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient
from dxlthreateventclient.configuration import load_configuration
from dxlthreateventclient.testing import LocalFabric, publish_threat_event
from dxlthreateventclient.testing.events import varied_threat_events

PATIENCE = 30.0


class Transcript(io.StringIO):
    """The output of all threads that a block starts."""

    def __init__(self, expected: str) -> None:
        super().__init__()
        self._expected = expected
        self._changed = threading.Condition()

    def write(self, text: str) -> int:
        with self._changed:
            self._changed.notify_all()
            return super().write(text)

    def is_complete(self) -> bool:
        printed = self.getvalue()
        return self._expected in printed and "\n" in printed

    def wait_until_complete(self) -> bool:
        with self._changed:
            return self._changed.wait_for(self.is_complete, timeout=PATIENCE)

    def wait_until_it_goes_on(self) -> bool:
        """Wait until the block has printed three more lines or has had time to finish."""
        self.wait_until_complete()
        enough = self.getvalue().count("\n") + 3
        with self._changed:
            return self._changed.wait_for(lambda: self.getvalue().count("\n") >= enough, timeout=5)


@pytest.fixture(scope="module")
def fabric() -> Iterator[LocalFabric]:
    """A separate fabric for the examples and the simulated ePO, which use ePO's topic."""
    with LocalFabric() as local_fabric:
        yield local_fabric


@pytest.fixture(scope="module")
def dxl_client(fabric: LocalFabric) -> Iterator[DxlClient]:
    """The examples' client, which continuously publishes threat events."""
    stopped = threading.Event()

    def publish() -> None:
        for threat_event in varied_threat_events():
            if stopped.wait(0.05):
                return
            publish_threat_event(connected, threat_event)

    with DxlClient(fabric.client_config()) as connected:
        connected.connect()
        thread = threading.Thread(target=publish)
        thread.start()
        yield connected
        stopped.set()
        thread.join()


def prepare(directory: Path, fabric: LocalFabric) -> None:
    """Fill a directory with the files that the examples expect."""
    for place in (directory, directory / "my-fabric"):
        shutil.copytree(fabric.directory, place, dirs_exist_ok=True)
    (directory / "sample").symlink_to(ROOT / "sample")


@pytest.fixture
def reader(
    fabric: LocalFabric, dxl_client: DxlClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The directory in which a reader runs the examples."""
    prepare(tmp_path, fabric)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    modules = set(sys.modules)
    yield tmp_path
    signal.signal(signal.SIGTERM, handler)
    for name in set(sys.modules) - modules:
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]


@contextlib.contextmanager
def ctrl_c_when_complete(transcript: Transcript) -> Iterator[None]:
    """If a block keeps running after printing its expected output, interrupt it.

    An interrupt could disturb a block that is already closing its resources.
    """
    guard = threading.Lock()
    is_running = True

    def interrupt() -> None:
        transcript.wait_until_it_goes_on()
        with guard:
            if is_running:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        try:
            yield
        finally:
            with guard:
                is_running = False
    except KeyboardInterrupt:
        pass


def is_program(block: Block) -> bool:
    starts_anew = block.content.startswith(("import ", "from "))
    return starts_anew and "load_configuration(" in block.content and "print(" in block.content


def run(block: Block, expected: str, dxl_client: DxlClient, namespace: dict[str, Any]) -> None:
    """Run a Python block and compare its output with that on the page."""
    if is_program(block):
        expected = expected or "\n"
    transcript = Transcript(expected)

    def press_enter(prompt: str = "") -> str:
        transcript.wait_until_complete()
        return prompt

    class MyCallback(CommonThreatEventCallback):
        def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Any) -> None:
            print(threat_event_dict["event"]["threatName"])

    # Number the lines as on the page, so that tracebacks show the right lines.
    code = compile("\n" * block.line + block.content, str(block.page), "exec", dont_inherit=True)
    config = load_configuration("dxlclient.config")
    with (
        CommonThreatEventClient(dxl_client) as client,
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(transcript),
    ):
        if is_program(block):
            namespace = {"__name__": "__main__"}
        else:
            namespace |= {"config": config, "dxl_client": dxl_client, "client": client}
            namespace["MyCallback"] = MyCallback
        patch.setattr(builtins, "input", press_enter)
        with ctrl_c_when_complete(transcript):
            exec(code, namespace)
        if expected:
            transcript.wait_until_complete()
    assert expected in transcript.getvalue(), f"{block} printed {transcript.getvalue()[:2000]!r}"


def outputs(page: Path) -> dict[int, str]:
    """Map each Python block's line number to the output that the page shows for it."""
    return {
        block.line: below.content
        for block, below in itertools.pairwise(blocks(page))
        if below.options.get("caption") == "Output"
    }


def names_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def module_of(page: Path) -> str:
    return ".".join(page.relative_to(ROOT).with_suffix("").parts)


WITH_EXAMPLES = [page for page in PAGES + MODULES if blocks(page, "python")]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=names_of)
def test_the_python_examples_of_a_page_run(page: Path, reader: Path, dxl_client: DxlClient) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    if page in MODULES:
        # Import all names from the docstring's module and from the package.
        module = vars(importlib.import_module(module_of(page)))
        package = {name: getattr(dxlthreateventclient, name) for name in dxlthreateventclient.__all__}
        namespace |= {**module, **package, "DxlClient": DxlClient}
    expected = outputs(page)
    found_by_pytest = []
    for block in blocks(page, "python"):
        caption = block.options.get("caption", "")
        if caption:
            (reader / caption).write_text(block.content, encoding="utf-8")
        if re.match("test_|conftest", caption):
            found_by_pytest.append(caption)
        elif not block.not_run:
            run(block, expected.get(block.line, ""), dxl_client, namespace)
    if found_by_pytest:
        completed = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", reader],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert completed.returncode == 0, completed.stdout


GIVEN = """\
from dxlclient.client import DxlClient
from dxlthreateventclient import *
config = load_configuration()
dxl_client = DxlClient(config)
client = CommonThreatEventClient(dxl_client)
class MyCallback(CommonThreatEventCallback): pass
"""


@pytest.mark.slow
def test_pyright_accepts_the_python_examples(tmp_path: Path) -> None:
    """Use pyright's standard mode instead of mypy's strict mode, which requires annotating every function."""
    for page in WITH_EXAMPLES:
        directory = tmp_path / page.stem
        directory.mkdir()
        pasted = GIVEN
        if page in MODULES:
            pasted += f"from {module_of(page)} import *\n"
        for block in blocks(page, "python"):
            if caption := block.options.get("caption"):
                (directory / caption).write_text(block.content, encoding="utf-8")
            elif not block.not_run:
                pasted += block.content
        (directory / "pasted.py").write_text(pasted, encoding="utf-8")
    settings = {
        "typeCheckingMode": "standard",
        "extraPaths": [str(ROOT)],
        "reportRedeclaration": False,  # a page may contain several versions of a class
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    completed = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--level", "error", "--pythonpath", sys.executable],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout


@pytest.mark.parametrize("page", MODULES, ids=names_of)
def test_the_doctests_of_a_module_pass(page: Path) -> None:
    if ">>>" in page.read_text(encoding="utf-8"):
        results = doctest.testmod(importlib.import_module(module_of(page)))
        assert results.attempted
        assert not results.failed


def command_lines() -> set[str]:
    """Return the documented command lines for this package and the basic sample."""
    start = re.compile(r"python (-m dxlthreateventclient|sample/basic/)")
    runnable = (block for page in PAGES for block in blocks(page, "sh") if not block.not_run)
    return {line for block in runnable for line in block.content.splitlines() if start.match(line)}


def complaint_about(command: str, directory: Path, fabric: LocalFabric) -> str | None:
    """Run a command line, press Ctrl-C if it does not end, and return the problem, if any."""
    prepare(directory, fabric)
    if " fabric " in command:
        # The ``fabric`` command creates its directory and does not replace existing files.
        shutil.rmtree(directory / "my-fabric")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=directory,
        env=os.environ | {"PATH": path, "DXLCLIENT_CONFIG": "dxlclient.config"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        output = process.stdout.readline()
        if re.search(" (demo|fabric|listen|sample/)", command):
            process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    said = output + rest + errors
    if process.returncode or "Traceback" in said or not said:
        return f"{command} ended with {process.returncode} and said {said!r}"
    return None


@pytest.mark.slow
def test_every_command_line_in_the_docs_works(
    fabric: LocalFabric, dxl_client: DxlClient, tmp_path: Path
) -> None:
    commands = sorted(command_lines())
    assert len(commands) > 5
    directories = [tmp_path / str(number) for number in range(len(commands))]
    with ThreadPoolExecutor(max_workers=4) as pool:
        complaints = pool.map(complaint_about, commands, directories, itertools.repeat(fabric))
        assert [complaint for complaint in complaints if complaint] == []


def test_every_make_target_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    pages = [*PAGES, ROOT / "CONTRIBUTING.md"]
    named = {
        target
        for page in pages
        for target in re.findall(
            r"(?:`|^ *)make ([a-z-]+)(?=`|$)", page.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert "demo" in named
    assert named <= targets
