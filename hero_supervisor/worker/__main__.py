"""``hero-runner``: its arguments, its signals, its exit code."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from hero_supervisor.drain import DRAIN_SIGNAL, DRAINED_STATUS
from hero_supervisor.errors import InvalidSettings
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.queue.keys import Keys

from .execute import INTERPRETERS, StopRequest
from .journal_log import JobLog
from .runner_loop import RunnerLoop, RunnerOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def main(words: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, of which a second one kills, or until drained after SIGUSR1.

    Returns:
        0 after a stop that lost nothing, 100 when it has drained. Wrong arguments exit with 2.
    """
    parser = _parser(os.environ)
    arguments = parser.parse_args(words)
    runner_id = arguments.actor_id or arguments.runner_id or os.environ.get("HERO_RUNNER")
    if not runner_id:
        parser.error("the id of the runner is needed: as first argument, or in HERO_RUNNER")
    try:
        server = RedisServer.at(arguments.redis_url)
    except InvalidSettings as exc:
        parser.error(str(exc))
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    keys = Keys(arguments.namespace)
    options = RunnerOptions(
        runner_id=runner_id,
        queue=arguments.queue or keys.work_queue(runner_id),
        executor=arguments.executor,
        stop_grace_s=arguments.stop_grace,
    )
    return asyncio.run(_serve(options, server, keys))


async def _serve(options: RunnerOptions, server: RedisServer, keys: Keys) -> int:
    stop = StopRequest(options.stop_grace_s)
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        stop.make()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.Signals[DRAIN_SIGNAL], stop.drain)
    log = JobLog()
    try:
        await RunnerLoop(options, server, keys, log).run(stop)
    finally:
        log.close()
    return 0 if stop.is_made else DRAINED_STATUS


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hero-runner",
        description="Take jobs from a Redis queue and execute them, one at a time.",
        epilog="Options win over environment variables. SIGTERM and SIGINT stop it and lose no job; after SIGUSR1 it "
        "takes no more, finishes the one it has, and ends with status 100.",
    )
    add = parser.add_argument
    add("runner_id", nargs="?", metavar="ID", help="id of this runner [HERO_RUNNER]")
    add("--actor-id", metavar="ID", help="the same, in the original's word")
    add(
        "--redis-url",
        default=environment.get("HERO_REDIS_URL") or "redis://localhost:6379",
        metavar="URL",
        help="redis://, rediss:// or unix:// [HERO_REDIS_URL, redis://localhost:6379]; arguments are visible to all "
        "users of the host, so a URL with a password belongs into the variable",
    )
    add(
        "--namespace",
        default=environment.get("HERO_NAMESPACE") or "hero",
        metavar="NAME",
        help="what all key names begin with [HERO_NAMESPACE, hero]",
    )
    add(
        "--queue",
        default=environment.get("HERO_QUEUE"),
        metavar="LIST",
        help="Redis list to take job ids from [HERO_QUEUE, NAME:q:work:type:ID]",
    )
    add(
        "--executor",
        choices=sorted(INTERPRETERS),
        default="python",
        help="what executes the payload of jobs that do not say it themselves [python]",
    )
    add(
        "--stop-grace",
        type=_seconds,
        default=8.0,
        metavar="SECONDS",
        help="how long a running job may go on after SIGTERM; then it is killed and goes back into the queue. Should "
        "be less than the unit's TimeoutStopSec [8]",
    )
    add("--db-path", metavar="PATH", help="ignored; the original gives it to its runners")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("must be from 0 to 86400")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
