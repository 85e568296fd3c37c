"""Connections of both clients: kept, found closed, broken, slow, cancelled."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.rpc_client import AsyncRawClient, RawClient, RpcError, ServiceUnreachable
from tests.unit.rpc_client.conftest import Peer, answer, http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.rpc_client.conftest import Client

    Clients = Callable[..., Client]

TLS = Path(__file__).parents[2] / "integration/data/tls"


def nothing(_: object) -> None:
    """Close the connection."""


def closed(peer: Peer) -> None:
    assert peer.closed.acquire(timeout=5)


async def test_a_connection_is_used_again(peer: Peer, client_of: Clients) -> None:
    client = client_of(peer.url)
    assert [await client.call("one"), await client.call("two")] == ["ok", "ok"]
    assert peer.seen == [(1, "one"), (1, "two")]


async def test_a_connection_that_the_service_closes_with_its_answer_is_not_used_again(
    peer: Peer, client_of: Clients
) -> None:
    client = client_of(peer.url)
    peer.turns = [[lambda request: answer(request).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")]]
    assert [await client.call("one"), await client.call("two")] == ["ok", "ok"]
    assert peer.seen == [(1, "one"), (2, "two")]


@pytest.mark.parametrize("method", ["start_runner", "restart_runner"])
async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced(
    peer: Peer, client_of: Clients, method: str
) -> None:
    client = client_of(peer.url)
    peer.turns = [[answer]]
    await client.call("one")
    await asyncio.to_thread(closed, peer)
    assert await client.call(method) == "ok"  # nothing was sent before: it need not be repeatable
    assert peer.seen == [(1, "one"), (2, method)]


async def test_what_comes_unasked_makes_a_connection_unusable(peer: Peer, client_of: Clients) -> None:
    client = client_of(peer.url)
    peer.turns = [[lambda request: answer(request) + b"x"]]
    assert [await client.call("one"), await client.call("two")] == ["ok", "ok"]
    assert peer.seen == [(1, "one"), (2, "two")]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("get_health", None),
        ("queue_job_to_runner", {"runner": "a", "job": {"id": "j", "payload": ""}}),
        ("queue_jobs_to_runner", {"runner": "a", "jobs": [{"idempotency_key": "j", "payload": ""}]}),
    ],
)
async def test_a_repeatable_call_is_made_again_when_its_kept_connection_breaks(
    peer: Peer, client_of: Clients, method: str, params: object
) -> None:
    client = client_of(peer.url)
    peer.turns = [[answer, nothing]]
    await client.call("one")
    assert await client.call(method, params) == "ok"
    assert peer.seen == [(1, "one"), (1, method), (2, method)]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("restart_runner", {"runner": "a"}),
        ("unknown", None),
        ("queue_job_to_runner", {"runner": "a", "job": {"payload": ""}}),
        ("queue_job_to_runner", ["a", {"id": "j", "payload": ""}]),
        ("queue_jobs_to_runner", {"runner": "a", "jobs": [{"id": "j"}, {"payload": ""}]}),
    ],
)
async def test_another_call_is_not(peer: Peer, client_of: Clients, method: str, params: object) -> None:
    client = client_of(peer.url)
    peer.turns = [[answer, nothing]]
    await client.call("one")
    with pytest.raises(ServiceUnreachable) as caught:
        await client.call(method, params)
    assert caught.value.hint is not None
    assert "may have been done" in caught.value.hint or "start it" in caught.value.hint
    assert peer.seen == [(1, "one"), (1, method)]


async def test_a_new_connection_that_breaks_is_not_tried_again(peer: Peer, client_of: Clients) -> None:
    peer.turns = [[nothing]]
    with pytest.raises(ServiceUnreachable, match="closed the connection without an answer"):
        await client_of(peer.url).call("get_health")
    assert peer.seen == [(1, "get_health")]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"HTTP/2 200\r\n\r\n", "does not speak HTTP"),
        (http(b"{}"), "without JSON-RPC 2.0"),
        (http(b"<html>", status="502 Bad Gateway"), "it answered HTTP 502 without JSON"),
        (http(b"cannot serve host 'x'\n", status="403 Forbidden"), r"HTTP 403 \(cannot serve host 'x'\)"),
        (http(b"cannot \x1b[2J\n", status="403 Forbidden"), "HTTP 403 without JSON"),
        (http(b"", status="413 Content Too Large"), r"HTTP 413 \(the request is too long\)"),
        (http(b'{"jsonrpc": "2.0", "id": 99, "result": 1}'), "does not belong"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "longer than"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "beside its body"),
    ],
)
async def test_garbage_means_unreachable_and_the_next_call_has_a_connection_of_its_own(
    peer: Peer, client_of: Clients, said: bytes, text: str
) -> None:
    client = client_of(peer.url)
    peer.turns = [[lambda _: said]]
    with pytest.raises(ServiceUnreachable, match=text) as caught:
        await client.call("one")
    assert peer.url in caught.value.message
    assert await client.call("two") == "ok"


async def test_half_an_answer_means_unreachable(peer: Peer, client_of: Clients) -> None:
    peer.turns = [[lambda request: answer(request)[:-3]]]
    with pytest.raises(ServiceUnreachable, match="in the middle of an answer"):
        await client_of(peer.url).call("restart_runner")


async def test_an_answer_over_the_limit_is_not_read(peer: Peer, client_of: Clients) -> None:
    peer.turns = [[lambda request: answer(request, result="x" * 1000)]]
    with pytest.raises(ServiceUnreachable, match="longer than 1000 bytes"):
        await client_of(peer.url, max_answer_bytes=1000).call("x")


async def test_a_call_that_is_too_late_gives_up_its_connection(peer: Peer, client_of: Clients) -> None:
    client, late = client_of(peer.url), threading.Event()

    def wait(request: dict[str, Any]) -> bytes:
        late.wait(5)
        return answer(request, result="late")

    peer.turns = [[answer, wait]]
    await client.call("one")
    begun = time.monotonic()
    with pytest.raises(ServiceUnreachable, match=r"no answer within 0\.2 s"):
        await client.call("get_health", timeout_s=0.2)
    assert time.monotonic() - begun < 2  # and it was not made again
    late.set()
    assert await client.call("two") == "ok"
    assert peer.seen == [(1, "one"), (1, "get_health"), (2, "two")]


async def test_a_large_request_is_sent_whole(peer: Peer, client_of: Clients) -> None:
    peer.turns = [[lambda request: answer(request, result=len(request["params"]["x"]))]]
    assert await client_of(peer.url).call("x", {"x": "y" * 3_000_000}) == 3_000_000


async def test_a_socket_that_does_not_exist_means_unreachable(client_of: Clients) -> None:
    with pytest.raises(ServiceUnreachable, match=r"unix:/nowhere/s: no such file or directory"):
        await client_of("unix:/nowhere/s").call("x")


# -- batches -------------------------------------------------------------------------------------------------------


def each(requests: Any) -> bytes:
    """Answer every call of a batch, the last first, those of the method ``bad`` with an error."""
    error = {"code": -32001, "message": "cannot", "data": {"kind": "runner-not-found"}}
    answers = [
        {
            "jsonrpc": "2.0",
            "id": each["id"],
            **({"error": error} if each["method"] == "bad" else {"result": each["id"]}),
        }
        for each in requests
    ]
    return http(json.dumps(answers[::-1]).encode())


async def test_a_batch_gives_each_call_its_own_outcome(peer: Peer, client_of: Clients) -> None:
    peer.turns = [[each]]
    first, second, third = await client_of(peer.url).call_many([("a", None), ("bad", {"x": 1}), ("b", [])])
    assert (first, third) == (1, 3)
    assert isinstance(second, RpcError)
    assert second.kind == "runner-not-found"
    assert peer.seen == [(1, "batch")]


async def test_more_calls_than_the_service_takes_at_once_are_several_requests(peer: Peer, client_of: Clients) -> None:
    peer.turns = [[each, each, each]]
    assert await client_of(peer.url).call_many([("a", None)] * 250) == list(range(1, 251))
    assert peer.seen == [(1, "batch")] * 3


async def test_no_calls_are_no_request(peer: Peer, client_of: Clients) -> None:
    assert await client_of(peer.url).call_many([]) == []
    assert peer.seen == []


@pytest.mark.parametrize(
    "spoil", [lambda answers: answers[1:], lambda answers: answers * 2, lambda answers: [*answers[1:], 7]]
)
async def test_a_batch_with_missing_or_foreign_answers_means_unreachable(
    peer: Peer, client_of: Clients, spoil: Callable[[list[Any]], list[Any]]
) -> None:
    def turn(requests: Any) -> bytes:
        answers = [{"jsonrpc": "2.0", "id": each["id"], "result": 1} for each in requests]
        return http(json.dumps(spoil(answers)).encode())

    peer.turns = [[turn]]
    with pytest.raises(ServiceUnreachable, match="does not belong"):
        await client_of(peer.url).call_many([("a", None), ("b", None)])


async def test_a_batch_that_is_refused_as_a_whole_raises(peer: Peer, client_of: Clients) -> None:
    refusal = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "cannot answer"}}
    peer.turns = [[lambda _: http(json.dumps(refusal).encode())]]
    with pytest.raises(RpcError) as caught:
        await client_of(peer.url).call_many([("a", None)])
    assert caught.value.kind == "invalid-request"


# -- one client only -----------------------------------------------------------------------------------------------


async def test_a_cancelled_call_leaves_no_connection_behind(peer: Peer) -> None:
    asked, late = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait(request: dict[str, Any]) -> bytes:
        loop.call_soon_threadsafe(asked.set)
        late.wait(5)
        return answer(request, result="late")

    peer.turns = [[answer, wait]]
    async with AsyncRawClient(peer.url) as client:
        await client.call("one")
        call = asyncio.create_task(client.call("get_health"))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        late.set()
        assert await client.call("two") == "ok"
    assert peer.seen == [(1, "one"), (1, "get_health"), (2, "two")]


async def test_no_more_connections_are_opened_than_allowed(peer: Peer) -> None:
    async with AsyncRawClient(peer.url, max_connections=3) as client:
        assert await asyncio.gather(*(client.call("x") for _ in range(50))) == ["ok"] * 50
    assert len(peer.connections) <= 3


async def test_a_wait_for_a_connection_counts(peer: Peer) -> None:
    late = threading.Event()

    def wait(request: dict[str, Any]) -> bytes:
        late.wait(5)
        return answer(request)

    peer.turns = [[wait]]
    async with AsyncRawClient(peer.url, max_connections=1) as client:
        long = asyncio.create_task(client.call("long"))
        await asyncio.sleep(0)
        with pytest.raises(ServiceUnreachable, match="no answer within"):
            await client.call("short", timeout_s=0.1)
        late.set()
        assert await long == "ok"


def test_a_client_may_be_used_in_another_event_loop_once_it_is_closed(peer: Peer) -> None:
    client = AsyncRawClient(peer.url)

    async def use() -> None:
        async with client:
            assert await client.call("x") == "ok"

    asyncio.run(use())
    asyncio.run(use())


def test_threads_may_share_a_client(peer: Peer) -> None:
    results: list[object] = []
    with RawClient(peer.url) as client:
        threads = [
            threading.Thread(target=lambda: results.extend(client.call("x") for _ in range(50))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == ["ok"] * 200
    assert len(peer.connections) <= 8


def test_a_connection_of_another_process_is_not_used(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawClient(peer.url) as client:
        client.call("one")
        monkeypatch.setattr(os, "getpid", lambda: -1)  # as after a fork
        client.call("two")
    assert peer.seen == [(1, "one"), (2, "two")]


def test_a_client_within_another_time_has_the_same_connections(peer: Peer) -> None:
    with RawClient(peer.url) as client:
        client.call("one")
        assert client.within(5).call("two") == "ok"
    assert [number for number, _ in peer.seen] == [1, 1]


def test_a_client_that_nobody_closes_closes_its_connections(peer: Peer) -> None:
    client = RawClient(peer.url)
    client.call("one")
    del client
    closed(peer)


async def test_an_authority_file_that_is_none_is_refused() -> None:
    for make in (RawClient, AsyncRawClient):
        with pytest.raises(Exception, match="ca_file: no such file"):
            make("https://localhost", ca_file="/nowhere.pem")


# -- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tls_peer() -> Iterator[Peer]:
    """A peer that speaks TLS, with a certificate for 127.0.0.1 that only ``ca.pem`` vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    peer = Peer(context.wrap_socket(listener, server_side=True), url)
    yield peer
    peer.close()


async def test_a_connection_is_encrypted_and_kept(tls_peer: Peer, client_of: Clients) -> None:
    client = client_of(tls_peer.url, ca_file=str(TLS / "ca.pem"))
    assert [await client.call("one"), await client.call("two")] == ["ok", "ok"]
    assert tls_peer.seen == [(1, "one"), (1, "two")]


async def test_a_service_that_nobody_vouches_for_is_asked_nothing(tls_peer: Peer, client_of: Clients) -> None:
    with pytest.raises(ServiceUnreachable, match="certificate verify failed"):
        await client_of(tls_peer.url).call("one")
    assert tls_peer.seen == []
