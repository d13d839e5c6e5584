"""The program on the page about asyncio: threat events in a browser."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from dxlclient.client import DxlClient
from helpers.pages import DOCS, blocks
from helpers.waiting import until

from dxlthreateventclient import CommonThreatEventClient
from dxlthreateventclient.testing import publish_threat_event, sample_threat_event


@pytest.fixture
def server() -> Any:
    [block] = [block for block in blocks(DOCS / "asyncio.rst") if block.options.get("caption") == "server.py"]
    namespace = {"__name__": "server"}
    exec(compile(block.content, "server.py", "exec"), namespace)
    return SimpleNamespace(**namespace)


async def message(response: Any) -> list[str]:
    """The fields of the next message."""
    lines: list[str] = (await response.content.readuntil(b"\n\n")).decode().splitlines()
    return lines[:-1]


def browser_session() -> Any:
    from aiohttp import ClientSession  # noqa: PLC0415 - takes long, and only these tests need it

    return ClientSession()


def test_each_browser_gets_each_event_until_it_leaves(server: Any, dxl_client: DxlClient) -> None:
    async def main() -> None:
        with CommonThreatEventClient(dxl_client) as client:
            runner = server.web.AppRunner(
                server.application(client), handler_cancellation=True, shutdown_timeout=1
            )
            await runner.setup()
            await server.web.TCPSite(runner, "127.0.0.1", 0).start()
            url = "http://{}:{}".format(*runner.addresses[0][:2])
            async with browser_session() as session:
                async with session.get(url) as page:
                    assert "EventSource" in await page.text()
                async with session.get(f"{url}/events") as one:
                    async with session.get(f"{url}/events") as other:
                        await asyncio.to_thread(until, lambda: bool(client.status().subscribed), "it listens")
                        for number in range(3):
                            event = sample_threat_event(id=number)
                            await asyncio.to_thread(publish_threat_event, dxl_client, event)
                            for browser in (one, other):
                                [data] = await message(browser)
                                assert json.loads(data.removeprefix("data: ")) == event
                    await asyncio.to_thread(until, lambda: len(server.browsers) == 1, "one has left")
            await runner.cleanup()

    asyncio.run(main())


def test_a_slow_browser_learns_how_many_events_it_misses(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        runner = server.web.AppRunner(server.web.Application(), handler_cancellation=True, shutdown_timeout=1)
        runner.app.add_routes([server.web.get("/events", server.send_events)])
        await runner.setup()
        await server.web.TCPSite(runner, "127.0.0.1", 0).start()
        url = "http://{}:{}/events".format(*runner.addresses[0][:2])
        async with browser_session() as session, session.get(url) as response:
            [browser] = server.browsers
            for number in range(105):
                browser.offer(f"data: {number}\n\n")
            assert [await message(response) for _ in range(3)] == [
                ["data: 0"],
                ["event: missed", "data: 5"],
                ["data: 1"],
            ]
        await runner.cleanup()

    asyncio.run(main())
