"""A worker as a process of its own: its signals, its words to systemd, its log, its exit status."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from hero_supervisor.drain import DRAIN_SIGNAL, DRAINED_STATUS
from hero_supervisor.errors import HolderFenced
from hero_supervisor.notify import notify, watchdog_interval_s

from .job_logging import set_up_logging
from .stopping import StopRequest

if TYPE_CHECKING:
    from .worker import Worker

logger = logging.getLogger(__name__)

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
#: The exit status of a worker that was taken for dead.
FENCED_STATUS: Final = 1


def run_process(worker: Worker, stop: StopRequest | None = None) -> NoReturn:
    """Serve until a signal and end this process; see ``Worker.run``."""
    set_up_logging(worker.options)
    sys.exit(asyncio.run(_serve(worker, stop or StopRequest())))


async def _serve(worker: Worker, stop: StopRequest) -> int:
    _heed_signals(stop)
    watchdog = asyncio.create_task(_feed_watchdog(), name="watchdog")
    stopping = asyncio.create_task(_tell_stopping(stop), name="tell-stopping")
    try:
        await worker.serve(stop)
        status = 0 if stop.is_made else DRAINED_STATUS
    except HolderFenced as exc:
        logger.error("%s; others have its jobs", exc)  # noqa: TRY400  # where it was noticed says nothing
        status = FENCED_STATUS
    finally:
        watchdog.cancel()
        stopping.cancel()
    if worker.has_stuck_handlers:
        _end_now(status)
    return status


def _end_now(status: int) -> NoReturn:
    """End the process without waiting for handlers that nothing else ends."""
    logging.shutdown()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _heed_signals(stop: StopRequest) -> None:
    loop = asyncio.get_running_loop()

    def on_stop_signal() -> None:
        stop.make()
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)  # the next one kills

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, on_stop_signal)
    loop.add_signal_handler(signal.Signals[DRAIN_SIGNAL], stop.drain)


def tell_ready() -> None:
    """Tell systemd that jobs are taken from now on."""
    _tell("READY=1")


async def _tell_stopping(stop: StopRequest) -> None:
    await stop.until_takes_no_more()
    _tell("STOPPING=1")


async def _feed_watchdog() -> None:
    """Give signs of life from the event loop: a handler that blocks it is what a watchdog is for."""
    interval_s = watchdog_interval_s()
    while interval_s is not None:
        _tell("WATCHDOG=1")
        await asyncio.sleep(interval_s)


def _tell(state: str) -> None:
    with suppress(OSError):  # systemd is being executed anew, or its socket is not ours; it asks for nothing twice
        notify(state)
