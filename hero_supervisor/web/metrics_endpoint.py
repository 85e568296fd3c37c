"""``GET /metrics`` for Prometheus. Scrapes are answered one by one: each asks systemd and Redis, and takes a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response

from hero_supervisor.errors import PermissionDenied
from hero_supervisor.metrics import CONTENT_TYPE, render
from hero_supervisor.rpc.access import Scope, authorise

from .rpc_endpoint import bearer

if TYPE_CHECKING:
    from starlette.requests import Request

    from hero_supervisor.rpc import Tally
    from hero_supervisor.supervisor import Supervisor


class MetricsEndpoint:
    """Answers scrapes."""

    def __init__(self, supervisor: Supervisor, tally: Tally) -> None:
        """Args: who measures, and what counts the calls."""
        self._supervisor = supervisor
        self._tally = tally
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        """Answer a request; 403 to who may not read."""
        try:
            authorise(self._supervisor.secrets, _secret_of(request), Scope.READ, "metrics")
        except PermissionDenied as exc:
            return PlainTextResponse(f"{exc.message}\n", status_code=403)
        async with self._one_at_a_time:
            measures = await self._supervisor.measure()
            text = await asyncio.to_thread(render, measures, self._tally.copy())
        return Response(text, headers={"Content-Type": CONTENT_TYPE})


def _secret_of(request: Request) -> str | None:
    header = request.headers.get("authorization")
    return bearer(None if header is None else header.encode())
