import logging
from typing import Any

import pytest
from dxlclient.message import Event

from dxlthreateventclient import CommonThreatEventCallback, ThreatEventDecodeError
from dxlthreateventclient.callbacks import FunctionCallback


def event(payload: Any = b'{"event": {"id": 1}}') -> Event:
    dxl_event = Event("/some/topic")
    dxl_event.payload = payload
    return dxl_event


class Recorder(CommonThreatEventCallback):
    def __init__(self, to_raise: BaseException | None = None) -> None:
        # Without super().__init__(), as many subclasses are written.
        self.to_raise = to_raise
        self.handled: list[tuple[dict[str, Any], Event]] = []
        self.errors: list[tuple[BaseException, Event]] = []

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        self.handled.append((threat_event_dict, original_event))
        if self.to_raise:
            raise self.to_raise

    def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
        self.errors.append((error, original_event))


class Default(CommonThreatEventCallback):
    def __init__(self, to_raise: BaseException) -> None:
        self.to_raise = to_raise

    def on_threat_event(self, threat_event_dict: dict[str, Any], original_event: Event) -> None:
        raise self.to_raise


def test_an_event_is_decoded_and_handed_over_with_the_original() -> None:
    callback, original = Recorder(), event()
    callback.on_event(original)
    assert callback.handled == [({"event": {"id": 1}}, original)]
    assert callback.errors == []


def test_a_payload_that_cannot_be_decoded_goes_to_the_hook_once() -> None:
    callback, original = Recorder(), event(b"junk")
    callback.on_event(original)
    [(error, errant)] = callback.errors
    assert isinstance(error, ThreatEventDecodeError)
    assert errant is original
    assert callback.handled == []


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_the_method_raises_goes_to_the_hook_and_no_further(error: BaseException) -> None:
    callback, original = Recorder(error), event()
    callback.on_event(original)
    assert callback.errors == [(error, original)]


def test_the_default_hook_logs_the_topic_the_message_id_and_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    original = event(b"junk")
    Default(ValueError()).on_event(original)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.name.startswith("dxlthreateventclient")
    for part in ("/some/topic", original.message_id, "not JSON", "b'junk'"):
        assert part in record.getMessage()


def test_the_default_hook_logs_the_traceback_of_what_was_raised(caplog: pytest.LogCaptureFixture) -> None:
    original = event()
    Default(ValueError("mine")).on_event(original)
    assert "/some/topic" in caplog.text
    assert original.message_id in caplog.text
    assert "ValueError: mine" in caplog.text
    assert "in on_threat_event" in caplog.text


def test_the_log_says_that_sys_exit_ended_nothing(caplog: pytest.LogCaptureFixture) -> None:
    Default(SystemExit(1)).on_event(event())
    assert "raised SystemExit, which ended nothing" in caplog.text


def test_a_hook_that_raises_is_logged_with_what_it_was_called_with(caplog: pytest.LogCaptureFixture) -> None:
    class Raising(Recorder):
        def on_threat_event_error(self, error: BaseException, original_event: Event) -> None:
            raise SystemExit("in the hook")

    original = event()
    Raising(ValueError("mine")).on_event(original)
    assert "SystemExit: in the hook" in caplog.text
    assert "ValueError: mine" in caplog.text
    assert original.message_id in caplog.text


def test_a_callback_that_overrides_nothing_says_what_to_override(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NotImplementedError, match="has to override on_threat_event"):
        CommonThreatEventCallback().on_threat_event({}, event())
    CommonThreatEventCallback().on_event(event())
    assert "has to override on_threat_event" in caplog.text


def test_a_wrapped_function_equals_the_function_and_other_wrappers_of_it() -> None:
    recorder = Recorder()
    wrapper = FunctionCallback(recorder.on_threat_event)
    assert wrapper == recorder.on_threat_event
    assert wrapper == FunctionCallback(recorder.on_threat_event, on_error=print)
    assert hash(wrapper) == hash(FunctionCallback(recorder.on_threat_event))
    assert wrapper != FunctionCallback(Recorder().on_threat_event)
    assert wrapper != recorder


def test_on_error_of_a_function_gets_both_kinds_of_errors() -> None:
    recorder = Recorder(ValueError("mine"))
    wrapper = FunctionCallback(recorder.on_threat_event, recorder.on_threat_event_error)
    wrapper.on_event(event())
    wrapper.on_event(event(b"junk"))
    assert [type(error) for error, _ in recorder.errors] == [ValueError, ThreatEventDecodeError]


def test_the_package_logs_nothing_where_nobody_configured_logging() -> None:
    handlers = logging.getLogger("dxlthreateventclient").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)
