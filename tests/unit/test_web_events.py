"""Limits of streams and WebSockets; all else about them is in tests/e2e/test_events.py."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.errors import RunnerNotFound, TooManyStreams
from hero_supervisor.events import ExitEvent, Topic
from hero_supervisor.rpc.subscriptions import ANSWERED, Subscriptions
from hero_supervisor.testing import InMemoryExitSource, InMemoryLogSource, InMemoryProcessManager
from hero_supervisor.web import http_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hero_supervisor.supervisor import Supervisor

HANDSHAKE = {"type": "websocket", "path": "/ws", "query_string": b"", "extensions": {"websocket.http.response": {}}}


@pytest.fixture
async def supervisor(tmp_path: Path) -> Supervisor:
    builder = SupervisorBuilder().state_dir(tmp_path).exit_source(InMemoryExitSource())
    return await builder.process_manager(InMemoryProcessManager()).log_source(InMemoryLogSource()).build()


async def test_one_stream_too_many_is_refused(supervisor: Supervisor) -> None:
    supervisor._events._max_streams = 0
    transport = httpx.ASGITransport(app=http_app(supervisor, is_loopback=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/events?topics=exit")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    error = answer.json()["error"]
    assert (error["code"], error["data"]["kind"]) == (-32024, "too-many-streams")
    assert error["message"].startswith("cannot open another stream of events")


async def shake_hands(supervisor: Supervisor, *headers: tuple[bytes, bytes], is_loopback: bool = True) -> list[Any]:
    """Return what a handshake is answered, and what comes after a client that says nothing."""
    sent: list[Any] = []
    received = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]

    async def receive() -> Any:
        return received.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await http_app(supervisor, is_loopback=is_loopback)({**HANDSHAKE, "headers": list(headers)}, receive, send)
    return sent


async def test_one_web_socket_too_many_is_refused(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [message["type"] for message in await shake_hands(supervisor)] == ["websocket.accept"]
    monkeypatch.setattr("hero_supervisor.web.socket_endpoint.MAX_CONNECTIONS", 0)
    head, body = await shake_hands(supervisor)
    assert (head["type"], head["status"]) == ("websocket.http.response.start", 503)
    assert json.loads(body["body"])["error"]["data"]["kind"] == "too-many-streams"


@pytest.mark.parametrize(
    ("origin", "host", "is_loopback", "is_accepted"),
    [
        (b"http://hero.example", b"hero.example", False, True),
        (b"http://hero.example:3030", b"hero.example:3030", False, True),
        (b"http://hero.example:1", b"hero.example:3030", False, False),
        (b"http://localhost", b"hero.example", False, False),
        (b"http://localhost", b"localhost:3030", True, True),
        (b"http://[::1]:80", b"localhost:3030", True, True),
        (b"http://evil.example", b"localhost:3030", True, False),
        (b"http://evil.example", b"evil.example", True, False),
        (b"null", b"localhost", True, False),
        (b"http://[", b"localhost", True, False),
        (b"\xff", b"localhost", True, False),
        (b"", b"", False, False),
    ],
)
async def test_pages_from_elsewhere_are_refused(
    supervisor: Supervisor, origin: bytes, host: bytes, *, is_loopback: bool, is_accepted: bool
) -> None:
    first, *_ = await shake_hands(supervisor, (b"origin", origin), (b"host", host), is_loopback=is_loopback)
    assert (first["type"] == "websocket.accept") == is_accepted
    assert is_accepted or first["status"] == 403


# -- subscriptions -------------------------------------------------------------------------------------------------


@pytest.fixture
async def subscriptions(supervisor: Supervisor) -> AsyncIterator[Subscriptions]:
    async def send(_: bytes) -> None:
        raise ConnectionResetError

    ANSWERED.set(asyncio.Event())
    yield Subscriptions(supervisor, send)
    assert supervisor._events._count == 0


async def test_a_subscription_that_ends_at_once_leaves_nothing(subscriptions: Subscriptions) -> None:
    for _ in range(20):
        id = await subscriptions.events_subscribe((Topic.EXIT,))
        assert await subscriptions.events_unsubscribe(id)
    await subscriptions.events_subscribe((Topic.EXIT,))
    await subscriptions.aclose()


async def test_subscriptions_that_are_being_opened_count(subscriptions: Subscriptions) -> None:
    subscribing = [subscriptions.events_subscribe((Topic.EXIT,)) for _ in range(17)]
    found = await asyncio.gather(*subscribing, return_exceptions=True)
    assert [type(each) for each in found] == [str] * 16 + [TooManyStreams]
    await subscriptions.aclose()


async def test_a_subscription_of_what_is_not_there_leaves_nothing(subscriptions: Subscriptions) -> None:
    with pytest.raises(RunnerNotFound):
        await subscriptions.events_subscribe((Topic.LOG,), "none")


async def test_a_subscriber_that_is_gone_is_sent_nothing(subscriptions: Subscriptions, supervisor: Supervisor) -> None:
    ANSWERED.get().set()
    await subscriptions.events_subscribe((Topic.EXIT,))
    supervisor._events.publish(ExitEvent, None)
    await asyncio.sleep(0.01)
    await subscriptions.aclose()
