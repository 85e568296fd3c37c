"""``GET /metrics`` for Prometheus. Scrapes are answered one by one: each asks systemd and Redis, and takes a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

from hero_supervisor.errors import PermissionDenied
from hero_supervisor.rpc import authorise
from hero_supervisor.scope import Scope

from .refusal import refusal
from .rpc_endpoint import caller_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from hero_supervisor.operations.measures import Measures
    from hero_supervisor.rpc import Access, Tally
    from hero_supervisor.supervisor import Supervisor


class MetricsEndpoint:
    """Answers scrapes."""

    def __init__(self, supervisor: Supervisor, access: Access, tally: Tally) -> None:
        """Args: who measures, who may ask, and what counts the calls."""
        self._supervisor = supervisor
        self._access = access
        self._tally = tally
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        """Answer a request; 403 to who may not read, 401 to who shows a wrong secret."""
        try:
            authorise(caller_of(request.scope, self._access), Scope.READ, "metrics")
        except PermissionDenied as exc:
            return refusal(exc)
        async with self._one_at_a_time:
            measures = await self._supervisor.measure()
            text, content_type = await asyncio.to_thread(_rendered, measures, self._tally.copy())
        return Response(text, headers={"Content-Type": content_type})


def _rendered(measures: Measures, tally: Tally) -> tuple[bytes, str]:
    # Where nobody scrapes, the library need not take a megabyte.
    from hero_supervisor.metrics import CONTENT_TYPE, render

    return render(measures, tally), CONTENT_TYPE
