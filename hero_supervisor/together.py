"""``together``: coroutines side by side, none of which is left running when one fails; ``to_the_end``: a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

T = TypeVar("T")


async def together(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines side by side and return their results, in order. A single one runs in the caller's own task.

    Raises:
        BaseException: The first that one of them raised, when all have ended.
    """
    if len(coroutines) == 1:
        return [await coroutines[0]]
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for a thread, also when cancelled meanwhile: it goes on all the same, and must not meet the next one."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    finally:
        await asyncio.wait([task])
