"""A DxlClient without a broker, for tests that need only its worker thread."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias
from unittest.mock import Mock

from dxlclient.client import DxlClient
from dxlclient.message import Event
from helpers.receiving import event, numbered

from dxlthreateventclient import AsyncThreatEventStream, CommonThreatEventClient

# A method of CommonThreatEventClient that opens a stream, or a function with the same arguments.
Kind: TypeAlias = Callable[..., Any]


class Worker:
    """A mocked DxlClient whose worker thread hands events to the added callbacks."""

    def __init__(self, kind: Kind) -> None:
        self.dxl_client = Mock(spec=DxlClient)
        self.client = CommonThreatEventClient(self.dxl_client)
        self.delivered: list[Event] = []
        self._kind = kind

    def stream(self, **options: Any) -> Any:
        return self._kind(self.client, "/topic", **options)

    def deliver(self, *payloads: Any) -> list[Event]:
        """Deliver and return events. If the stream is full, wait for room, as dxlclient's worker does."""
        for payload in payloads:
            [callback] = {call.args[1] for call in self.dxl_client.add_event_callback.call_args_list}
            callback.on_event(delivered := event(payload, "/topic"))
            self.delivered.append(delivered)
        return self.delivered[len(self.delivered) - len(payloads) :]

    def number(self, *numbers: int) -> list[Event]:
        return self.deliver(*(json.dumps(numbered(number)).encode() for number in numbers))

    def start(self, *numbers: int) -> threading.Thread:
        """Deliver events on another thread. If the stream is full, the thread waits for room."""
        thread = threading.Thread(target=self.number, args=numbers, daemon=True)
        thread.start()
        return thread


class Blocking:
    """An asynchronous stream with the methods of a ThreatEventStream.

    :param loop: the event loop of the stream, which runs on another thread
    """

    def __init__(self, stream: AsyncThreatEventStream, loop: asyncio.AbstractEventLoop) -> None:
        self._stream, self._loop = stream, loop
        self.close, self.drain = stream.close, stream.drain

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(40)

    def __enter__(self) -> "Blocking":
        self._run(self._stream.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stream.__aexit__(None, None, None))

    def __iter__(self) -> "Blocking":
        return self

    def __next__(self) -> Any:
        try:
            return self._run(self._stream.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def get(self, timeout: float | None = None) -> Any:
        return self._run(self._stream.get(timeout))
