"""Probe definitions: what is accepted, and how faults are told."""

from __future__ import annotations

import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hero_supervisor.definition.environment import MAX_COMMAND_BYTES
from hero_supervisor.definition.probe import HttpProbe, Probe, TcpProbe
from hero_supervisor.errors import InvalidProbe


def _paths(data: object) -> list[str]:
    with pytest.raises(InvalidProbe) as caught:
        Probe.from_data(data)
    return [fault.path for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("toml", "probe"),
    [
        ("tcp = {port = 5432}", Probe(tcp=TcpProbe(port=5432))),
        ("tcp = {port = 1, host = '::1'}\ninterval_s = 0.1", Probe(tcp=TcpProbe(port=1, host="::1"), interval_s=0.1)),
        ("http = {port = 80}", Probe(http=HttpProbe(port=80))),
        ("http = {url = 'http://localhost/a?b=c'}", Probe(http=HttpProbe(url="http://localhost/a?b=c"))),
        ("command = ['pg_isready', '-q']\ntimeout_s = 5", Probe(command=("pg_isready", "-q"), timeout_s=5)),
        ("heartbeat = 'app:alive'", Probe(heartbeat="app:alive")),
    ],
)
def test_every_kind_can_be_written_in_toml(toml: str, probe: Probe) -> None:
    assert Probe.from_data(tomllib.loads(toml)) == probe


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({}, ["tcp"]),
        ({"command": []}, ["tcp"]),
        ({"tcp": {"port": 1}, "heartbeat": "x"}, ["tcp"]),
        ({"heartbeat": ""}, ["heartbeat"]),
        ({"heartbeat": "x\0"}, ["heartbeat"]),
        ({"heartbeat": "x" * 1025}, ["heartbeat"]),
        ({"tcp": {}}, ["tcp.port"]),
        ({"tcp": 80}, ["tcp"]),
        ({"tcp": {"port": 0}}, ["tcp.port"]),
        ({"tcp": {"port": 65536}}, ["tcp.port"]),
        ({"tcp": {"port": "80"}}, ["tcp.port"]),
        ({"tcp": {"port": 1, "prot": 2}}, ["tcp.prot"]),
        ({"tcp": {"port": 1, "host": "10.0.0.1"}}, ["tcp.host"]),
        ({"tcp": {"port": 1, "host": "0.0.0.0"}}, ["tcp.host"]),  # noqa: S104  # nothing is bound
        ({"tcp": {"port": 1, "host": "example.org"}}, ["tcp.host"]),
        ({"tcp": {"port": 1, "host": "127.1"}}, ["tcp.host"]),
        ({"tcp": {"port": 1, "host": "::1%lo"}}, ["tcp.host"]),
        ({"tcp": {"port": 1, "host": ""}}, ["tcp.host"]),
        ({"http": {}}, ["http.port"]),
        ({"http": {"port": 80, "url": "http://localhost/"}}, ["http.port"]),
        ({"http": {"port": 80, "host": "192.168.0.1"}}, ["http.host"]),
        ({"http": {"port": 80, "path": "x"}}, ["http.path"]),
        ({"http": {"port": 80, "path": "/a b"}}, ["http.path"]),
        ({"http": {"port": 80, "path": "/a\r\nHost: x"}}, ["http.path"]),
        ({"http": {"port": 80, "path": "/a\n"}}, ["http.path"]),
        ({"http": {"port": 80, "path": "/ü"}}, ["http.path"]),
        ({"http": {"port": 80, "path": "/#a"}}, ["http.path"]),
        ({"http": {"port": 80, "path": "/" * 1025}}, ["http.path"]),
        ({"http": {"port": 80, "min_status": 99}}, ["http.min_status"]),
        ({"http": {"port": 80, "min_status": 300, "max_status": 200}}, ["http.min_status"]),
        ({"http": {"url": "http://localhost/", "path": "/x"}}, ["http.url"]),
        ({"http": {"url": "https://localhost/"}}, ["http.url"]),
        ({"http": {"url": "ftp://localhost/"}}, ["http.url"]),
        ({"http": {"url": "localhost"}}, ["http.url"]),
        ({"http": {"url": "http://"}}, ["http.url"]),
        ({"http": {"url": "http://10.0.0.1/"}}, ["http.url"]),
        ({"http": {"url": "http://127.0.0.1@10.0.0.1/"}}, ["http.url"]),
        ({"http": {"url": "http://127.0.0.1:80@10.0.0.1/"}}, ["http.url"]),
        ({"http": {"url": "http://127.0.0.1\\@10.0.0.1/"}}, ["http.url"]),
        ({"http": {"url": "http://[::1/"}}, ["http.url"]),
        ({"http": {"url": "http://[::2]/"}}, ["http.url"]),
        ({"http": {"url": "http://localhost:0/"}}, ["http.url"]),
        ({"http": {"url": "http://localhost:65536/"}}, ["http.url"]),
        ({"http": {"url": "http://localhost:x/"}}, ["http.url"]),
        ({"http": {"url": "http://localhost/#a"}}, ["http.url"]),
        ({"http": {"url": "http://localhost/\r\nX: y"}}, ["http.url"]),
        ({"http": {"url": "http://localhost/\n"}}, ["http.url"]),
        ({"http": {"url": "http://localhost/" + "a" * 1024}}, ["http.url"]),
        ({"command": ["./check"]}, ["command[0]"]),
        ({"command": ["check", "a\0"]}, ["command[1]"]),
        ({"command": ["check", 1]}, ["command[1]"]),
        ({"command": ["check", "x" * MAX_COMMAND_BYTES]}, ["command"]),
        ({"heartbeat": "x", "interval_s": 0.05}, ["interval_s"]),
        ({"heartbeat": "x", "interval_s": 3601}, ["interval_s"]),
        ({"heartbeat": "x", "timeout_s": 0}, ["timeout_s"]),
        (
            {"heartbeat": "x", "success_threshold": 0, "failure_threshold": 101},
            ["success_threshold", "failure_threshold"],
        ),
        ({"heartbeat": "x", "initial_delay_s": -1}, ["initial_delay_s"]),
        ({"heartbeat": "x", "every": 1}, ["every"]),
        ("tcp", ["$"]),
    ],
)
def test_every_fault_is_told_with_its_path(data: object, paths: list[str]) -> None:
    assert _paths(data) == paths


def test_a_host_elsewhere_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidProbe, match=r"tcp\.host: .*probes do not leave this machine"):
        Probe(tcp=TcpProbe(port=1, host="10.0.0.1")).checked()


def test_tls_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidProbe, match=r"http\.url: .*TLS is not supported"):
        Probe(http=HttpProbe(url="https://localhost/")).checked()


@pytest.mark.parametrize(
    ("http", "addresses", "port", "path"),
    [
        ({"port": 81}, ["127.0.0.1"], 81, "/"),
        ({"port": 81, "host": "localhost", "path": "/h?a=1"}, ["127.0.0.1", "::1"], 81, "/h?a=1"),
        ({"url": "http://localhost"}, ["127.0.0.1", "::1"], 80, "/"),
        ({"url": "http://127.0.0.2:81/a/b?c=d&e="}, ["127.0.0.2"], 81, "/a/b?c=d&e="),
        ({"url": "http://[::1]:81"}, ["::1"], 81, "/"),
    ],
)
def test_a_url_says_the_same_as_port_and_path(http: dict[str, Any], addresses: list[str], port: int, path: str) -> None:
    probe = Probe.from_data({"http": http}).http
    assert probe is not None
    assert (list(probe.target.addresses), probe.target.port, probe.request_path) == (addresses, port, path)


@given(st.one_of(st.text(), st.text().map("http://".__add__), st.from_regex(r"http://127\.0\.0\.1:\d{1,6}/?.*")))
def test_a_url_is_refused_or_can_be_asked_for(url: str) -> None:
    try:
        http = Probe(http=HttpProbe(url=url)).checked().http
    except InvalidProbe:
        return
    assert http is not None
    assert http.request_path.isascii()
    assert not set(http.request_path) & set(" \r\n\t")
    assert set(http.target.addresses) <= {"127.0.0.1", "::1"} or http.target.addresses[0].startswith("127.")


def test_a_probe_comes_back_from_json_as_it_was() -> None:
    probe = Probe(http=HttpProbe(port=80, path="/x"), success_threshold=2)
    assert Probe.from_data(msgspec.json.decode(msgspec.json.encode(probe))) == probe
