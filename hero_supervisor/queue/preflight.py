"""Whether a Redis is fit for keeping jobs, as far as it tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hero_supervisor.errors import HeroError, PermissionDenied, RedisTooOld

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .store import JobStore

#: The oldest version whose commands do what the scripts need.
OLDEST: Final = (6, 2)


async def preflight(store: JobStore) -> list[str]:
    """Return what may cost jobs in this Redis, as sentences for its operator.

    Raises:
        RedisTooOld: It cannot do what is needed.
        RedisUnavailable: It does not answer.
    """
    try:
        async with store.server.call():
            info: Any = await store.redis.info("all")
    except PermissionDenied:
        return ["it cannot be told whether Redis keeps its data: the credentials do not allow INFO"]
    if fault := _too_old(store.server.address, info):
        raise fault
    return warnings_in(info)


def warnings_in(info: Mapping[str, Any]) -> list[str]:
    """Return what may cost jobs, from what ``INFO`` says."""
    warnings = []
    if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
        warnings.append(
            f"Redis throws keys away when its memory is full (maxmemory-policy {info['maxmemory_policy']}): "
            "set it to noeviction, or jobs vanish"
        )
    if not info.get("aof_enabled"):
        warnings.append(
            "Redis keeps no append-only file: when it ends unexpectedly, what was written since its last snapshot is "
            "lost; set appendonly to yes"
        )
    if info.get("cluster_enabled"):
        warnings.append("Redis is a cluster, which is not supported yet: the keys of a job are on several of its nodes")
    return warnings


def _too_old(address: str, info: Mapping[str, Any]) -> HeroError | None:
    version = str(info.get("redis_version", ""))
    numbers = tuple(int(number) for number in re.findall("[0-9]+", version)[:2])
    if numbers and numbers < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return RedisTooOld(f"cannot use Redis at {address}: it is version {version}, and {wanted} is needed")
    return None
