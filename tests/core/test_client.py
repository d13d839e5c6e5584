"""What the client promises about its arguments, and about a DxlClient that a test has mocked."""

from functools import partial
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest
from dxlclient.callbacks import EventCallback, RequestCallback
from dxlclient.client import DxlClient
from dxlclient.message import Event

import dxlthreateventclient
from dxlthreateventclient import CommonThreatEventCallback, CommonThreatEventClient
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC


def handle(threat_event_dict: dict[str, Any], original_event: Event) -> None:
    pass


async def handle_later(threat_event_dict: dict[str, Any], original_event: Event) -> None:
    pass


class Callback(CommonThreatEventCallback):
    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        pass


class CallableLater:
    async def __call__(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        pass


class AsynchronousHook(Callback):
    async def on_threat_event_error(  # type: ignore[override]
        self, error: BaseException, original_event: Event
    ) -> None:
        pass


class AsynchronousCallback(CommonThreatEventCallback):
    async def on_threat_event(  # type: ignore[override]
        self, threat_event_dict: dict[str, Any], original_event: Event
    ) -> None:
        pass


@pytest.mark.parametrize("dxl_client", [Mock(), MagicMock(), Mock(spec=DxlClient), MagicMock(spec=DxlClient)])
@pytest.mark.parametrize("callback", [Callback(), Callback, EventCallback()])
def test_a_mocked_dxl_client_is_handed_the_callback_itself(dxl_client: Mock, callback: Any) -> None:
    client = CommonThreatEventClient(dxl_client)
    client.add_epo_threat_event_response_callback(callback)
    dxl_client.add_event_callback.assert_called_with(EPO_THREAT_EVENT_RESPONSE_TOPIC, callback)
    client.remove_epo_threat_event_response_callback(callback)
    dxl_client.remove_event_callback.assert_called_with(EPO_THREAT_EVENT_RESPONSE_TOPIC, callback)
    client.add_threat_event_callback(callback, "/other")
    dxl_client.add_event_callback.assert_called_with("/other", callback)
    client.remove_threat_event_callback(callback, topic="/other")
    dxl_client.remove_event_callback.assert_called_with("/other", callback)


@pytest.mark.parametrize(
    "no_callback", [None, 5, "callback", object(), dict, RequestCallback(), RequestCallback, [handle]]
)
def test_what_is_no_callback_raises_at_once_and_says_what_to_pass(no_callback: Any) -> None:
    dxl_client = Mock(spec=DxlClient)
    client = CommonThreatEventClient(dxl_client)
    for method in (
        client.add_epo_threat_event_response_callback,
        client.remove_epo_threat_event_response_callback,
        client.add_threat_event_callback,
        client.remove_threat_event_callback,
    ):
        with pytest.raises(TypeError, match="pass an instance of a subclass of CommonThreatEventCallback"):
            method(no_callback)
    dxl_client.add_event_callback.assert_not_called()


@pytest.mark.parametrize(
    "asynchronous",
    [
        handle_later,
        partial(handle_later, {}),
        CallableLater(),
        AsyncMock(),
        AsynchronousCallback(),
        AsynchronousCallback,
        AsynchronousHook(),
    ],
)
def test_an_asynchronous_callback_is_refused_since_nothing_would_await_it(asynchronous: Any) -> None:
    with pytest.raises(TypeError, match="run_coroutine_threadsafe"):
        CommonThreatEventClient(Mock(spec=DxlClient)).add_threat_event_callback(asynchronous)


@pytest.mark.parametrize("on_error", [handle_later, CallableLater(), 5, "print"])
def test_on_error_has_to_be_a_function_that_is_not_asynchronous(on_error: Any) -> None:
    client = CommonThreatEventClient(Mock(spec=DxlClient))
    with pytest.raises(TypeError, match=r"is asynchronous|is no function"):
        client.add_threat_event_callback(handle, on_error=on_error)
    with pytest.raises(TypeError, match=r"is asynchronous|is no function"):
        client.threat_events(on_error=on_error)


def test_on_error_is_refused_for_a_callback_object_which_has_a_method_for_it() -> None:
    with pytest.raises(TypeError, match="override on_threat_event_error"):
        CommonThreatEventClient(Mock(spec=DxlClient)).add_threat_event_callback(Callback(), on_error=print)


@pytest.mark.parametrize("topic", ["", "/mcafee/+/threat", "/mcafee/#/threat", "/mcafee#", "##", "/a\0"])
def test_a_topic_on_which_dxlclient_would_deliver_nothing_is_refused(topic: str) -> None:
    client = CommonThreatEventClient(Mock(spec=DxlClient))
    with pytest.raises(ValueError, match="no topic"):
        client.add_threat_event_callback(handle, topic)
    with pytest.raises(ValueError, match="no topic"):
        client.threat_events(topic)


@pytest.mark.parametrize("topic", [None, b"/mcafee", 5, ["/mcafee"]])
def test_a_topic_has_to_be_a_string(topic: Any) -> None:
    client = CommonThreatEventClient(Mock(spec=DxlClient))
    with pytest.raises(TypeError, match="pass a string"):
        client.add_threat_event_callback(handle, topic)
    with pytest.raises(TypeError, match="pass a string"):
        client.threat_events(topic)


@pytest.mark.parametrize("topic", ["/mcafee/event/#", "#", "/#", "other"])
def test_exact_topics_and_filters_at_the_end_are_taken(topic: str) -> None:
    dxl_client = Mock(spec=DxlClient)
    CommonThreatEventClient(dxl_client).add_threat_event_callback(Callback, topic)
    dxl_client.add_event_callback.assert_called_once_with(topic, Callback)


@pytest.mark.parametrize("max_buffered", [0, -1, "5", None, 1.5])
def test_a_stream_has_to_hold_something(max_buffered: Any) -> None:
    with pytest.raises(ValueError, match=f"max_buffered is {max_buffered!r}"):
        CommonThreatEventClient(Mock(spec=DxlClient)).threat_events(max_buffered=max_buffered)


@pytest.mark.parametrize("no_client", [None, "client", {}, DxlClient])
def test_what_is_no_dxl_client_is_refused(no_client: Any) -> None:
    with pytest.raises(TypeError, match="pass an instance of dxlclient"):
        CommonThreatEventClient(no_client)


def test_the_version_is_one_and_the_same() -> None:
    assert dxlthreateventclient.get_version() == dxlthreateventclient.__version__


def test_a_mocked_client_is_left_as_it_was_after_the_with_block() -> None:
    dxl_client = Mock(spec=DxlClient)
    callback = Callback()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(callback)
    dxl_client.remove_event_callback.assert_called_once_with(EPO_THREAT_EVENT_RESPONSE_TOPIC, callback)


def test_a_function_is_handed_over_in_a_callback_that_equals_it() -> None:
    dxl_client = Mock(spec=DxlClient)
    client = CommonThreatEventClient(dxl_client)
    client.add_threat_event_callback(handle, on_error=print)
    [(topic, callback)] = [call.args for call in dxl_client.add_event_callback.call_args_list]
    assert topic == EPO_THREAT_EVENT_RESPONSE_TOPIC
    assert callback == handle
    assert isinstance(callback, CommonThreatEventCallback)
    client.remove_threat_event_callback(handle)
    dxl_client.remove_event_callback.assert_called_once_with(topic, callback)


def test_leaving_removes_once_what_was_added_twice() -> None:
    dxl_client = Mock(spec=DxlClient)
    callback = Callback()
    with CommonThreatEventClient(dxl_client) as client:
        client.add_threat_event_callback(callback)
        client.add_threat_event_callback(callback)
        client.add_threat_event_callback(handle)
        client.remove_threat_event_callback(handle)
        dxl_client.remove_event_callback.reset_mock()
    dxl_client.remove_event_callback.assert_called_once_with(EPO_THREAT_EVENT_RESPONSE_TOPIC, callback)
