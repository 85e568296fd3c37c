"""``hero-runner``: the arguments of the bundled runner, and its process's life."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from hero_supervisor.errors import HeroError
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.queue.inbox import JobInbox
from hero_supervisor.queue.keys import Keys
from hero_supervisor.queue.store import JobStore
from hero_supervisor.runner import Executor

from .loop import JobLoop

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bundled runner until SIGTERM or SIGINT."""
    options = _parser().parse_args(arguments)
    runner_id = options.actor_id or options.runner_id or os.environ.get("HERO_RUNNER")
    if not runner_id:
        _parser().error("the runner's id is required: give RUNNER_ID, or set HERO_RUNNER")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    try:
        asyncio.run(_serve(runner_id, options))
    except HeroError as exc:
        sys.exit(f"error: {exc}")


async def _serve(runner_id: str, options: argparse.Namespace) -> None:
    keys = Keys(options.namespace)
    queue = options.queue or keys.work_queue(runner_id)
    server = RedisServer.at(options.redis_url)
    store, inbox = JobStore(server, keys), JobInbox(server, queue)
    loop = JobLoop(runner_id, queue, store, inbox, Executor(options.executor), stop_grace_s=options.stop_grace)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, loop.stop)
    try:
        await loop.run()
    finally:
        await inbox.aclose()
        await store.aclose()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hero-runner", description="Takes jobs from a Redis list, executes their payloads, writes results back."
    )
    parser.add_argument("runner_id", metavar="RUNNER_ID", nargs="?", help="id of this runner; default: $HERO_RUNNER")
    parser.add_argument("--actor-id", metavar="ID", help="the same, under its older name")
    variable = os.environ.get
    parser.add_argument(
        "--redis-url",
        metavar="URL",
        default=variable("HERO_REDIS_URL", "redis://localhost:6379"),
        help="Redis server; default: $HERO_REDIS_URL, else redis://localhost:6379",
    )
    parser.add_argument(
        "--namespace",
        default=variable("HERO_NAMESPACE", "hero"),
        help="first part of all Redis keys; default: $HERO_NAMESPACE, else hero",
    )
    parser.add_argument(
        "--queue",
        metavar="KEY",
        default=variable("HERO_QUEUE"),
        help="Redis list to take job ids from; default: $HERO_QUEUE, else NAMESPACE:q:work:type:RUNNER_ID",
    )
    parser.add_argument(
        "--executor",
        choices=[executor.value for executor in Executor],
        default=Executor.PYTHON.value,
        help="what interprets payloads of jobs that name no executor; default: python",
    )
    parser.add_argument(
        "--stop-grace",
        metavar="SECONDS",
        type=float,
        default=7.0,
        help="how long the job at hand may go on after SIGTERM before it goes back into the queue; default: 7",
    )
    return parser


if __name__ == "__main__":
    main()
