"""How the client behaves with invalid arguments and with a mocked DxlClient."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest
from dxlclient.callbacks import EventCallback, RequestCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.clients import is_subscribed
from helpers.feed import Feed
from helpers.receiving import Receiver
from helpers.waiting import until

import dxlthreateventclient
from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC


async def handle_later(threat_event_dict: dict[str, Any], original_event: Event) -> None:
    pass


def generator(threat_event_dict: dict[str, Any], original_event: Event) -> Iterator[int]:
    yield 1


async def asynchronous_generator(
    threat_event_dict: dict[str, Any], original_event: Event
) -> AsyncIterator[int]:
    yield 1


class CallableLater:
    __call__ = staticmethod(handle_later)


class AsynchronousCallback(CommonThreatEventCallback):
    on_threat_event = staticmethod(handle_later)  # type: ignore[assignment]


class AsynchronousEventCallback(EventCallback):
    on_event = staticmethod(handle_later)  # type: ignore[assignment]


class AsynchronousHook(Receiver):
    on_threat_event_error = staticmethod(handle_later)  # type: ignore[assignment]


@pytest.fixture
def mocked() -> Mock:
    return Mock(spec=DxlClient)


@pytest.fixture
def client(mocked: Mock) -> CommonThreatEventClient:
    return CommonThreatEventClient(mocked)


class TestArguments:
    @pytest.mark.parametrize("wrong", [None, "client", {}, DxlClient])
    def test_a_dxl_client_is_an_instance_of_one(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match=f"DxlClient, got {re.escape(repr(wrong))}"):
            CommonThreatEventClient(wrong)

    @pytest.mark.parametrize(
        "wrong", [None, 5, "callback", object(), dict, RequestCallback(), RequestCallback, [print]]
    )
    def test_a_callback_is_a_callback_or_a_function(
        self, mocked: Mock, client: CommonThreatEventClient, wrong: Any
    ) -> None:
        for method in (
            client.add_epo_threat_event_response_callback,
            client.remove_epo_threat_event_response_callback,
            client.add_threat_event_callback,
            client.remove_threat_event_callback,
        ):
            with pytest.raises(TypeError, match="CommonThreatEventCallback"):
                method(wrong)
        mocked.add_event_callback.assert_not_called()

    @pytest.mark.parametrize(
        "asynchronous",
        [
            *(handle_later, generator, asynchronous_generator, partial(handle_later, {}), AsyncMock()),
            *(AsynchronousCallback(), AsynchronousCallback, AsynchronousHook(), AsynchronousEventCallback()),
            CallableLater(),
        ],
    )
    def test_nothing_is_taken_that_would_never_run(
        self, client: CommonThreatEventClient, asynchronous: Any
    ) -> None:
        with pytest.raises(TypeError, match=r"must not be asynchronous or a generator.*run_coroutine_thread"):
            client.add_threat_event_callback(asynchronous)

    @pytest.mark.parametrize("wrong", [handle_later, CallableLater(), 5, "print"])
    def test_on_error_is_a_function(self, client: CommonThreatEventClient, wrong: Any) -> None:
        with pytest.raises(TypeError, match=re.escape(repr(wrong))):
            client.add_threat_event_callback(print, on_error=wrong)
        with pytest.raises(TypeError, match=re.escape(repr(wrong))):
            client.threat_events(on_error=wrong)

    def test_on_error_goes_with_a_function(self, client: CommonThreatEventClient) -> None:
        with pytest.raises(TypeError, match="override the callback's on_threat_event_error"):
            client.add_threat_event_callback(Receiver(), on_error=print)

    @pytest.mark.parametrize(
        "wrong", ["", "/a/+/b", "/a/#/b", "/a#", "##", "/a\0", None, b"/a", 5, ["/a"]], ids=repr
    )
    def test_a_topic_is_one_on_which_dxlclient_delivers(
        self, client: CommonThreatEventClient, wrong: Any
    ) -> None:
        error = ValueError if isinstance(wrong, str) else TypeError
        with pytest.raises(error, match=re.escape(repr(wrong))):
            client.add_threat_event_callback(print, wrong)
        with pytest.raises(error, match=re.escape(repr(wrong))):
            client.threat_events(wrong)

    @pytest.mark.parametrize("topic", ["/mcafee/event/#", "#", "/#", "other"])
    def test_a_topic_may_be_exact_or_end_in_a_wildcard(
        self, mocked: Mock, client: CommonThreatEventClient, topic: str
    ) -> None:
        client.add_threat_event_callback(Receiver, topic)
        mocked.add_event_callback.assert_any_call(topic, Receiver)

    @pytest.mark.parametrize("wrong", [0, -1, "5", None, 1.5])
    def test_a_stream_buffers_at_least_one_event(self, client: CommonThreatEventClient, wrong: Any) -> None:
        with pytest.raises(ValueError, match=rf"max_buffered.*{wrong!r}"):
            client.threat_events(max_buffered=wrong)


@pytest.mark.parametrize("function", [handle_later, generator, asynchronous_generator])
def test_a_callback_that_never_runs_is_an_error_for_each_event(
    feed: Feed, function: Callable[..., Any]
) -> None:
    """A lambda that returns a coroutine is accepted, because only a call can reveal the coroutine."""
    receiver = Receiver()
    hidden = lambda *arguments: function(*arguments)  # noqa: E731, PLW0108
    feed.add(hidden, on_error=receiver.on_threat_event_error)
    [sent] = feed.publish([1])
    until(lambda: bool(receiver.errors), "the error is handed over")
    [(error, failed)] = receiver.errors
    assert "which nothing runs" in str(error)
    assert failed.message_id == sent.message_id


class TestAMockedDxlClient:
    """In users' tests, a mocked DxlClient receives the callback or an equal object."""

    @pytest.mark.parametrize("mocked", [Mock(), MagicMock(), Mock(spec=DxlClient), MagicMock(spec=DxlClient)])
    @pytest.mark.parametrize("callback", [Receiver(), Receiver, EventCallback(), Receiver().on_threat_event])
    def test_gets_each_call_with_topic_and_callback(self, mocked: Mock, callback: Any) -> None:
        client = CommonThreatEventClient(mocked)
        client.add_epo_threat_event_response_callback(callback)
        mocked.add_event_callback.assert_called_with(EPO_THREAT_EVENT_RESPONSE_TOPIC, callback)
        client.remove_epo_threat_event_response_callback(callback)
        mocked.remove_event_callback.assert_called_with(EPO_THREAT_EVENT_RESPONSE_TOPIC, callback)
        client.add_threat_event_callback(callback, "/other")
        mocked.add_event_callback.assert_called_with("/other", callback)
        client.remove_threat_event_callback(callback, topic="/other")
        mocked.remove_event_callback.assert_called_with("/other", callback)

    def test_has_each_callback_removed_once_in_the_end(self, mocked: Mock) -> None:
        callback = Receiver()
        with CommonThreatEventClient(mocked) as client:
            client.add_threat_event_callback(callback)
            client.add_threat_event_callback(callback)
            client.add_threat_event_callback(print)
            client.remove_threat_event_callback(print)
            mocked.remove_event_callback.reset_mock()
        mocked.remove_event_callback.assert_called_once_with(EPO_THREAT_EVENT_RESPONSE_TOPIC, callback)

    def test_takes_callbacks_again_when_a_closed_client_is_entered(self, mocked: Mock) -> None:
        client = CommonThreatEventClient(mocked)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.add_threat_event_callback(print)
        with client:
            client.add_threat_event_callback(print)
        mocked.remove_event_callback.assert_called_once()


@dataclass(slots=True)
class Wrapper:
    """A wrapper that supports neither hashing nor weak references."""

    wrapped: DxlClient

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)


class TestADouble:
    def test_may_be_a_bare_namespace(self) -> None:
        calls: list[str] = []
        double: Any = SimpleNamespace(
            add_event_callback=lambda *_: calls.append("add"),
            remove_event_callback=lambda *_: calls.append("remove"),
        )
        with CommonThreatEventClient(double) as client:
            client.add_threat_event_callback(print)
            with client.threat_events():
                assert not client.status().connected
        assert calls == ["add", "add", "remove", "remove"]

    def test_may_be_a_wrapper_around_a_dxl_client(self, feed: Feed) -> None:
        wrapper: Any = Wrapper(feed.dxl_client)
        receiver = Receiver()
        with CommonThreatEventClient(wrapper) as client:
            client.add_threat_event_callback(receiver, feed.topic)
            feed.publish([1])
            receiver.until_received(1)
            feed.remove(receiver)
            until(lambda: not is_subscribed(feed.topic), "it is unsubscribed")


def test_the_version_is_one_and_the_same() -> None:
    assert dxlthreateventclient.get_version() == dxlthreateventclient.__version__
