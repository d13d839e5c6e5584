"""The fixtures that come with the package, in test suites of users, whose warnings are all errors."""

import pytest

pytest_plugins = ["pytester"]

CALLBACK = """
import asyncio, threading, time
from unittest.mock import Mock
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


class Suite:
    """A user's test suite."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        pytester.makeini("[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function")

    def passes(self, number: int, tests: str, conftest: str = "") -> None:
        """Run it in this process, which takes half as long as a new one."""
        self._write(tests, conftest)
        self._pytester.runpytest_inprocess().assert_outcomes(passed=number)

    def run(self, tests: str, *options: str, conftest: str = "") -> pytest.RunResult:
        """Run it in a process of its own, which has imported nothing so far."""
        self._write(tests, conftest)
        return self._pytester.runpytest_subprocess(*options)

    def _write(self, tests: str, conftest: str) -> None:
        self._pytester.makeconftest(conftest)
        self._pytester.makepyfile(CALLBACK + tests)


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    return Suite(pytester)


class TestPublishAndWait:
    def test_it_returns_when_each_callback_has_run(self, suite: Suite) -> None:
        suite.passes(
            4,
            """
def test_a_sample_event(dxl_client, publish_and_wait):
    handled = receive(dxl_client, lambda _: time.sleep(0.1))
    sent = publish_and_wait()
    [(threat_event, original_event)] = handled
    assert original_event.message_id == sent.message_id
    assert threat_event["event"]["threatName"] == sample_threat_event()["event"]["threatName"]

def test_an_event_on_a_topic(dxl_client, publish_and_wait):
    first, second = receive(dxl_client, topic="/mine"), receive(dxl_client, topic="/mine")
    threat_events = [sample_threat_event(id=number) for number in range(100)]
    for threat_event in threat_events:
        publish_and_wait(threat_event, topic="/mine")
    assert [handled[0] for handled in first] == [handled[0] for handled in second] == threat_events

def test_each_test_has_a_client_of_its_own(dxl_client, publish_and_wait):
    assert len(dxl_client.subscriptions) == 2
    publish_and_wait()

def test_a_client_of_ones_own(dxl_fabric, publish_and_wait):
    from dxlclient.client import DxlClient
    with DxlClient(dxl_fabric.client_config()) as mine:
        mine.connect()
        handled = receive(mine, lambda _: time.sleep(0.1))
        publish_and_wait(dxl_client=mine)
        assert len(handled) == 1
""",
        )

    def test_it_waits_for_clients_that_reconnect(self, suite: Suite) -> None:
        suite.passes(
            1,
            """
def test_the_fabric_misbehaves(dxl_fabric, dxl_client, publish_and_wait):
    handled = receive(dxl_client)
    dxl_fabric.drop_connections()
    publish_and_wait()
    assert len(handled) == 1
    dxl_fabric.stop()
    dxl_fabric.start()
    publish_and_wait()
    assert len(handled) == 2
""",
        )

    def test_it_says_why_it_did_not_return(self, suite: Suite) -> None:
        suite.passes(
            3,
            """
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

def test_the_next_test_is_unaffected(dxl_client, publish_and_wait):
    handled = receive(dxl_client)
    publish_and_wait()
    assert len(handled) == 1
""",
        )


ONE_TEST = """
def test_one(dxl_client, publish_and_wait):
    handled = receive(dxl_client)
    publish_and_wait()
    assert len(handled) == 1
"""


class TestPlugin:
    @pytest.mark.slow
    def test_unused_it_imports_nothing(self, suite: Suite) -> None:
        """Every run of pytest imports it, in every project of the environment."""
        result = suite.run(
            """
def test_unused():
    assert True
""",
            conftest="""
import sys

def pytest_sessionstart():
    assert "pytest_dxlthreateventclient" in sys.modules
    assert "dxlthreateventclient" not in sys.modules
    assert "dxlclient" not in sys.modules
""",
        )
        result.assert_outcomes(passed=1)

    def test_fixtures_of_the_same_names_do_not_clash(self, suite: Suite) -> None:
        """A user's fixture replaces ours; those that the user did not replace go on working."""
        suite.passes(
            2,
            """
def test_theirs(dxl_client, dxl_fabric, fabric):
    assert (dxl_client, dxl_fabric, fabric) == ("their client", "their fabric", "their fabric, too")

def test_ours(publish_and_wait):
    publish_and_wait()
""",
            conftest="""
import pytest

@pytest.fixture(scope="module")
def dxl_client():
    return "their client"

@pytest.fixture
def dxl_fabric():
    return "their fabric"

@pytest.fixture(scope="session")
def fabric():
    return "their fabric, too"
""",
        )

    @pytest.mark.slow
    def test_each_worker_of_xdist_has_a_fabric(self, suite: Suite) -> None:
        eight_tests = "\n".join(ONE_TEST.replace("one", str(number)) for number in range(8))
        suite.run(eight_tests, "-n", "2").assert_outcomes(passed=8)

    @pytest.mark.slow
    def test_warnings_may_be_errors_on_the_command_line(self, suite: Suite) -> None:
        """There they go before the filters of the configuration, which the other tests have."""
        suite.run(ONE_TEST, "-W", "error").assert_outcomes(passed=1)

    @pytest.mark.slow
    @pytest.mark.parametrize("plugin", ["asyncio", "anyio"])
    def test_it_works_in_async_tests(self, suite: Suite, plugin: str) -> None:
        suite.passes(
            1,
            f"""
@pytest.mark.{plugin}
async def test_async(dxl_client, publish_and_wait):
    handled = receive(dxl_client)
    publish_and_wait()
    await asyncio.to_thread(publish_and_wait)
    assert len(handled) == 2
""",
            conftest="""
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
""",
        )

    @pytest.mark.slow
    def test_a_missing_extra_is_named_without_a_traceback(self, suite: Suite) -> None:
        result = suite.run(ONE_TEST, conftest="import sys\nsys.modules['amqtt'] = None")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(
            [
                "*ERROR at setup*",
                "LocalFabric needs amqtt*: pip install 'dxlthreateventclient*'",
                "*summary*",
            ],
            consecutive=True,
        )
