"""Follows the service's events over HTTP, blocking; what ``herosup events`` reads.

Server-sent events, with the standard library only. A connection that is lost is made again, and goes on after the last
event: who follows sees a ``gap`` event when something is missing, and nothing otherwise.

::

    for event in EventClient("http://127.0.0.1:3030").follow(topics=["runner", "exit"]):
        print(event["topic"], event["runner"], event["data"])
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from .errors import HeroError
from .rpc_client import DEFAULT_URL, ServiceUnreachable
from .rpc_client.blocking import connect
from .rpc_client.connecting import Target
from .rpc_client.failures import BadAnswer, error_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Seconds without a sign of life after which a connection is given up: the service gives one every 15 s.
SILENCE_S: Final = 40.0
#: Seconds until a lost connection is made again.
RETRY_S: Final = 2.0
#: Most bytes of one line; an event is one.
MAX_LINE_BYTES: Final = 4 * 1024 * 1024


class EventClient:
    """Follows the events of one service."""

    def __init__(self, url: str = DEFAULT_URL, token: str | None = None, *, retry_s: float = RETRY_S) -> None:
        """Prepare.

        Args:
            url: As for ``RpcClient``.
            token: Sent as ``Authorization: Bearer``; nothing is sent when it is empty.
            retry_s: Seconds until a lost connection is made again.

        Raises:
            InvalidInput: The URL or the token cannot be used.
        """
        self._target = Target.of(url, token, ca_file=None, max_answer_bytes=None)
        self._retry_s = retry_s
        self._cursor: str | None = None

    def follow(
        self,
        *,
        topics: Iterable[str] = (),
        runners: Iterable[str] = (),
        job: str | None = None,
        since: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield events as they come, for ever.

        Args:
            topics: ``runner``, ``exit``, ``job``, ``operation``, ``log``; all but the last when not given.
            runners: Only events of these runners.
            job: Only events of this job.
            since: ``cursor`` of the event to go on after.

        Raises:
            RpcError: The service does not tell these events.
            ServiceUnreachable: It cannot be reached at the beginning; later that is tried again and again.
        """
        query = {"topics": ",".join(topics), "runner": list(runners), "job": job or ""}
        path = "/events?" + urlencode({name: value for name, value in query.items() if value}, doseq=True)
        self._cursor = since
        is_first = True
        while True:
            try:
                yield from self._events(path)
            except ServiceUnreachable:
                if is_first:
                    raise
            is_first = False
            # There is no event for a service that can be reached again.
            time.sleep(self._retry_s)

    def _events(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the events of one connection."""
        since = {"Last-Event-ID": self._cursor} if self._cursor else {}
        headers = {**self._target.headers, "Accept": "text/event-stream", **since}
        with self._target.explained(SILENCE_S), closing(HTTPConnection(self._target.address.authority)) as connection:
            connection.sock = connect(self._target, time.monotonic() + SILENCE_S)
            try:
                connection.request("GET", path, headers=headers)
                with connection.getresponse() as response:
                    _check(response)
                    yield from self._read(response)
            except HTTPException as exc:
                raise BadAnswer(f"its answer is no HTTP: {exc or type(exc).__name__}") from exc

    def _read(self, response: HTTPResponse) -> Iterator[dict[str, Any]]:
        data = ""
        while line := response.readline(MAX_LINE_BYTES).decode(errors="replace"):
            if not line.endswith("\n"):
                return  # cut off, or far too long
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "id":
                self._cursor = value
            elif name == "data":
                data = value
            elif not name and data:
                yield _event_in(data)
                data = ""


def _check(response: HTTPResponse) -> None:
    if response.status == 200:
        return
    try:
        error = json.loads(response.read(MAX_LINE_BYTES))["error"]
        raise error_from(int(error["code"]), str(error["message"]), error.get("data"))
    except (ValueError, KeyError, TypeError) as exc:
        text = f"cannot follow events: the service answered HTTP {response.status}"
        raise HeroError(text, hint="is this the supervisor's address? see --url") from exc


def _event_in(text: str) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise HeroError(
            "cannot read an event: it is no JSON object", hint="is this the supervisor's address? see --url"
        )
    return event
