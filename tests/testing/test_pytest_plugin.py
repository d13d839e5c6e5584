"""The package's pytest fixtures in users' test suites, with all warnings treated as errors."""

from collections.abc import Callable

import pytest

pytest_plugins = ["pytester"]

CALLBACK = """
import asyncio, threading, time
import pytest
from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import sample_threat_event

def receive(dxl_client, handle=lambda threat_event: None, **arguments):
    handled = []

    def callback(threat_event, original_event):
        handle(threat_event)
        handled.append((threat_event, original_event))

    CommonThreatEventClient(dxl_client).add_threat_event_callback(callback, **arguments)
    return handled
"""
ONE_TEST = """
def test_one(dxl_client, publish_and_wait):
    handled = receive(dxl_client)
    publish_and_wait()
    assert len(handled) == 1
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """A function that runs a user's tests in a new process, without garbage from other tests."""
    pytester.makeini("[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function")

    def run_tests(tests: str, *options: str, conftest: str = "") -> pytest.RunResult:
        pytester.makeconftest(conftest)
        pytester.makepyfile(CALLBACK + tests)
        return pytester.runpytest_subprocess(*options)

    return run_tests


class TestPublishAndWait:
    def test_it_returns_when_each_callback_has_run(self, run: Run) -> None:
        """The call waits for each callback to return, even if the clients must reconnect first."""
        tests = """
CLIENTS = []

def test_a_sample_event(dxl_client, publish_and_wait):
    CLIENTS.append(dxl_client)
    handled = receive(dxl_client, lambda _: time.sleep(0.1))
    sent = publish_and_wait()
    [(threat_event, original_event)] = handled
    assert original_event.message_id == sent.message_id
    assert threat_event["event"]["threatName"] == sample_threat_event()["event"]["threatName"]

def test_an_event_on_a_topic(dxl_client, publish_and_wait):
    assert dxl_client not in CLIENTS, "each test has a client of its own"
    first, second = receive(dxl_client, topic="/mine"), receive(dxl_client, topic="/mine")
    threat_events = [sample_threat_event(id=number) for number in range(100)]
    for threat_event in threat_events:
        publish_and_wait(threat_event, topic="/mine")
    assert [handled[0] for handled in first] == [handled[0] for handled in second] == threat_events

def test_a_client_of_ones_own(dxl_fabric, publish_and_wait):
    from dxlclient.client import DxlClient
    with DxlClient(dxl_fabric.client_config()) as mine:
        mine.connect()
        handled = receive(mine, lambda _: time.sleep(0.1))
        publish_and_wait(dxl_client=mine)
        assert len(handled) == 1

def test_the_fabric_misbehaves(dxl_fabric, dxl_client, publish_and_wait):
    handled = receive(dxl_client)
    dxl_fabric.drop_connections()
    publish_and_wait()
    dxl_fabric.stop()
    dxl_fabric.start()
    publish_and_wait()
    assert len(handled) == 2
"""
        run(tests).assert_outcomes(passed=4)

    def test_it_says_why_it_did_not_return(self, run: Run) -> None:
        """The next test is unaffected."""
        tests = """
def test_a_fabric_that_is_left_frozen(dxl_fabric, dxl_client, publish_and_wait):
    dxl_fabric.freeze()
    with pytest.raises(TimeoutError, match="nothing reached the client within 0.2 seconds"):
        publish_and_wait(timeout=0.2)

def test_a_callback_that_takes_long(dxl_client, publish_and_wait):
    finish = threading.Event()
    receive(dxl_client, lambda _: finish.wait())
    with pytest.raises(TimeoutError, match="not handled within 2 seconds: .* held up by a callback"):
        publish_and_wait(timeout=2)
    finish.set()
"""
        run(tests + ONE_TEST).assert_outcomes(passed=3)


class TestPlugin:
    @pytest.mark.slow
    def test_unused_it_imports_nothing(self, pytester: pytest.Pytester) -> None:
        """pytest imports the plugin in every run of every project in the environment."""
        pytester.makepyfile("""
import sys

def test_unused():
    assert "pytest_dxlthreateventclient" in sys.modules
    assert not sys.modules.keys() & {"dxlthreateventclient", "dxlclient"}
""")
        pytester.runpytest_subprocess().assert_outcomes(passed=1)

    def test_fixtures_of_the_same_names_do_not_clash(self, run: Run) -> None:
        """A user's fixture replaces the plugin's fixture, and the other fixtures still work."""
        tests = """
@pytest.fixture(scope="module")
def dxl_client():
    return "their client"

@pytest.fixture
def dxl_fabric():
    return "their fabric"

def test_both(dxl_client, dxl_fabric, publish_and_wait):
    assert (dxl_client, dxl_fabric) == ("their client", "their fabric")
    publish_and_wait()
"""
        run(tests).assert_outcomes(passed=1)

    @pytest.mark.slow
    def test_each_worker_of_xdist_has_a_fabric(self, run: Run) -> None:
        four_tests = "\n".join(ONE_TEST.replace("one", str(number)) for number in range(4))
        run(four_tests, "-n", "2").assert_outcomes(passed=4)

    @pytest.mark.slow
    @pytest.mark.parametrize("plugin", ["asyncio", "anyio"])
    def test_it_works_in_async_tests(self, run: Run, plugin: str) -> None:
        tests = f"""
@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.{plugin}
async def test_async(dxl_client, publish_and_wait):
    handled = receive(dxl_client)
    publish_and_wait()
    await asyncio.to_thread(publish_and_wait)
    assert len(handled) == 2
"""
        run(tests).assert_outcomes(passed=1)

    @pytest.mark.slow
    def test_a_missing_extra_is_named_without_a_traceback(self, run: Run) -> None:
        result = run(ONE_TEST, "-v", conftest="import sys\nsys.modules['amqtt'] = None")
        result.assert_outcomes(errors=1)
        needed = "LocalFabric needs amqtt*: pip install 'dxlthreateventclient*'"
        result.stdout.fnmatch_lines(["*ERROR at setup*", needed, "*summary*"], consecutive=True)
