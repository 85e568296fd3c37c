"""Who takes the jobs that are units: the supervisor itself, as a holder for each queue whose name outlasts it.

Its name has the node's id. The next supervisor of this host finds it among the holders of the queue, and has its jobs.
Should somebody have taken it for dead, then its jobs are others', and it goes on under another name.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import TYPE_CHECKING

from hero_supervisor.errors import HolderFenced
from hero_supervisor.queue.claims import HolderRecord

if TYPE_CHECKING:
    from hero_supervisor.client import JobClient
    from hero_supervisor.queue.claims import Claims

    from .execution import Host


class UnitHolder:
    """The holder for one queue."""

    def __init__(self, runner: str, jobs: JobClient, host: Host) -> None:
        self._runner = runner
        self._jobs = jobs
        self._host = host
        self._claims: Claims | None = None
        self._registering = asyncio.Lock()

    async def claims(self) -> Claims:
        """Return what takes jobs for us, once Redis knows us."""
        async with self._registering:
            if self._claims is None:
                self._claims = await self._registered()
            return self._claims

    async def aclose(self) -> None:
        """Close its connections; with the next call it registers again."""
        claims, self._claims = self._claims, None
        if claims is not None:
            await claims.aclose()

    async def _registered(self) -> Claims:
        own = f"unit:{self._host.node}"
        known = (await self._jobs.ledger.look(self._runner, grace_s=0)).holders
        name = next((each for each in known if each == own or each.startswith(f"{own}:")), own)
        try:
            return await self._register(name)
        except HolderFenced:
            return await self._register(f"{own}:{secrets.token_hex(4)}")

    async def _register(self, name: str) -> Claims:
        claims = self._jobs.claims(self._runner, name)
        try:
            await claims.register(HolderRecord(node=self._host.node, boot_id=self._host.boot_id, pid=os.getpid()))
        except BaseException:
            await claims.aclose()
            raise
        return claims
