"""Lines, beginnings and ends of what scripts print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hero_supervisor.worker.output import Head, Lines, Tail


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(5, 12))
def test_no_byte_of_a_line_is_lost_wherever_the_stream_is_cut(chunks: list[bytes], limit: int) -> None:
    lines = Lines(limit)
    pieces = [piece for chunk in chunks for piece in lines.feed(chunk)] + lines.end()
    everything = b"".join(chunks)
    assert b"".join(pieces).replace(b"\r", b"") == everything.replace(b"\n", b"").replace(b"\r", b"")
    assert all(len(piece) <= limit and b"\n" not in piece for piece in pieces)


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\nc"], [b"ab", b"c"]),
        ([b"a\r\n\r\n\n"], [b"a", b"", b""]),
        ([b"0123456789\n"], [b"01234567", b"89"]),
        ([b"0123", b"456789"], [b"01234567", b"89"]),
        (["1234567é89".encode()], [b"1234567", "é89".encode()]),
        ([b"\x80" * 12], [b"\x80" * 4, b"\x80" * 8]),
        ([], []),
    ],
)
def test_streams_are_cut_into_lines(chunks: list[bytes], lines: list[bytes]) -> None:
    cutter = Lines(8)
    assert [line for chunk in chunks for line in cutter.feed(chunk)] + cutter.end() == lines


def test_memory_for_a_line_without_an_end_is_bounded() -> None:
    lines = Lines(100)
    for _ in range(1000):
        lines.feed(b"x" * 64)
    assert len(lines.end()[0]) <= 100


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([b"abc", b"def"], "abcdef"),
        ([b"x" * 60], "x" * 60),
        ([b"x" * 50, b"y" * 50], "x" * 26 + "\n… [truncated: 100 bytes in all]"),
        (["é".encode() * 40], "é" * 13 + "\n… [truncated: 80 bytes in all]"),
        # What replaces undecodable bytes is larger than they are.
        ([b"\xff" * 30], "\ufffd" * 9 + "\n… [truncated: 30 bytes in all]"),
        ([b"\xff"], "\ufffd"),
    ],
)
def test_a_result_has_its_beginning_and_tells_what_is_missing(chunks: list[bytes], text: str) -> None:
    head = Head(60)
    for chunk in chunks:
        head.add(chunk)
    assert head.text() == text
    assert len(head.text().encode()) <= 60


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_a_result_is_never_larger_than_its_limit(chunks: list[bytes]) -> None:
    head = Head(60)
    for chunk in chunks:
        head.add(chunk)
    assert len(head.text().encode()) <= 60


@pytest.mark.parametrize(
    ("chunks", "text"),
    [([b"one\ntwo\n"], "one\ntwo\n"), ([b"one\n", b"two\nthree"], "two\nthree"), ([b"x" * 30], "x" * 12)],
)
def test_an_error_has_the_end_from_the_beginning_of_a_line(chunks: list[bytes], text: str) -> None:
    tail = Tail(12)
    for chunk in chunks:
        tail.add(chunk)
    assert tail.text() == text
