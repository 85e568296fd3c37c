"""Answers in HTTP/1.1, in all the ways they may be cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hero_supervisor.rpc_client.address import address_in
from hero_supervisor.rpc_client.failures import BadAnswer, ConnectionClosed
from hero_supervisor.rpc_client.http1 import MAX_HEAD_BYTES, Response, request_to

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: x\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\nhello"


def read(data: bytes, *, ends: bool = False, step: int | None = None, limit: int = 1000) -> Response:
    response = Response(limit)
    for at in range(0, len(data), step or len(data)):
        response.feed(data[at : at + (step or len(data))])
    if ends:
        response.end()
    return response


@pytest.mark.parametrize("step", [1, 2, 3, 7, None])
@pytest.mark.parametrize(
    ("data", "ends", "is_reusable"),
    [
        (SIZED, False, True),
        (CHUNKED, False, True),
        (TO_THE_END, True, False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED, False, True),
        (SIZED.replace(b"\r\n\r\n", b"\r\nConnection: Close\r\n\r\n"), False, False),
        (SIZED.replace(b"1.1", b"1.0"), False, False),
        (SIZED.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), False, True),
        (SIZED.replace(b"200 OK", b"200"), False, True),
        (SIZED + b"more", False, False),
    ],
)
def test_an_answer_is_read_however_it_is_cut(data: bytes, *, ends: bool, is_reusable: bool, step: int | None) -> None:
    response = read(data, ends=ends, step=step)
    assert (response.status, bytes(response.body), response.is_complete) == (200, b"hello", True)
    assert response.is_reusable is is_reusable or (step == 1 and data.endswith(b"more"))


def test_an_answer_without_content_has_no_body() -> None:
    response = read(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (response.status, response.is_reusable, bytes(response.body)) == (204, True, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"220 smtp ready\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        SIZED.replace(b": 5", b": -5"),
        SIZED.replace(b": 5", b": +5"),
        SIZED.replace(b": 5", b": 5_0"),
        SIZED.replace(b": 5", b": " + b"9" * 5000),
        SIZED.replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\n\r\n"),
        SIZED.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
        SIZED.replace(b"Content-Length: 5", b"Transfer-Encoding: gzip"),
        CHUNKED.replace(b"2\r\nhe", b"x\r\nhe"),
        CHUNKED.replace(b"2\r\nhe", b"1\r\nhe"),
        CHUNKED.replace(b"2\r\nhe", b"FFFFFFFFFFF\r\nhe"),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD_BYTES,
        CHUNKED[:60] + b"0" * MAX_HEAD_BYTES,
        SIZED.replace(b": 5", b": 1001"),
        TO_THE_END + b"x" * 1000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100\r\n" + b"x" * 256 + b"\r\n2F0\r\n",
    ],
)
def test_what_is_not_clear_or_too_long_is_refused(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        read(data)


@pytest.mark.parametrize("data", [SIZED[:-1], CHUNKED[:-1], SIZED[:20], b""])
def test_an_end_in_the_middle_is_told(data: bytes) -> None:
    response = Response()
    response.feed(data)
    with pytest.raises(ConnectionClosed):
        response.end()


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_nothing_but_its_own_errors_comes_of_any_bytes(parts: list[bytes]) -> None:
    for head in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED[:50]):
        response = Response(100)
        try:
            response.feed(head)
            for part in parts:
                response.feed(part)
            response.end()
        except (BadAnswer, ConnectionClosed):
            pass
        assert len(response.body) <= 100


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://h:1/rpc", b"POST /rpc HTTP/1.1", b"Host: h:1"),
        ("http://[::1]:2", b"POST / HTTP/1.1", b"Host: [::1]:2"),
        ("unix:/x", b"POST / HTTP/1.1", b"Host: localhost"),
    ],
)
def test_a_request_says_where_it_goes_and_how_long_it_is(url: str, line: bytes, host: bytes) -> None:
    head, _, body = request_to(address_in(url), {"A": "b"}, b"{}").partition(b"\r\n\r\n")
    assert (head.split(b"\r\n"), body) == ([line, host, b"Content-Length: 2", b"A: b"], b"{}")
