"""``hero-runner``: its arguments, and the handlers it has."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from hero_supervisor.errors import InvalidSettings

from .execute import INTERPRETERS
from .journal_log import JobLog
from .options import DEFAULT_STOP_GRACE_S, MAX_STOP_GRACE_S
from .scripts import ScriptHandler
from .stopping import StopRequest
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROGRAM: Final = "hero-runner"


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run until SIGTERM or SIGINT, of which a second one kills, or until drained after SIGUSR1; see ``Worker.run``.

    Wrong arguments exit with 2.
    """
    parser = _parser()
    arguments = parser.parse_args(words)
    try:
        worker = _worker(arguments)
    except InvalidSettings as exc:
        parser.error(str(exc))
    stop, log = StopRequest(), JobLog()
    for executor in INTERPRETERS:
        worker.executor(executor)(ScriptHandler(executor, worker.options, stop, log))
    worker.run(stop)


def _worker(arguments: argparse.Namespace) -> Worker:
    return Worker(
        arguments.actor_id or arguments.runner_id,
        redis_url=arguments.redis_url,
        namespace=arguments.namespace,
        queue=arguments.queue,
        concurrency=arguments.concurrency,
        stop_grace_s=arguments.stop_grace,
        default_executor=arguments.executor,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Take jobs from a runner's queue and execute them as scripts.",
        epilog="Options win over environment variables. SIGTERM and SIGINT stop it and lose no job; after SIGUSR1 it "
        "takes no more, finishes what it has, and ends with status 100.",
    )
    add = parser.add_argument
    add("runner_id", nargs="?", metavar="ID", help="id of this runner [HERO_RUNNER]")
    add("--actor-id", metavar="ID", help="the same, in the original's word")
    add(
        "--redis-url",
        metavar="URL",
        help="redis://, rediss:// or unix:// [HERO_REDIS_URL, redis://localhost:6379]; arguments are visible to all "
        "users of the host, so a URL with a password belongs into the variable",
    )
    add("--namespace", metavar="NAME", help="what all key names begin with [HERO_NAMESPACE, hero]")
    add(
        "--queue",
        metavar="LIST",
        help="Redis list of which what foreign clients push is taken too [HERO_QUEUE, NAMESPACE:q:work:type:ID]",
    )
    add(
        "--executor",
        choices=sorted(INTERPRETERS),
        default="python",
        help="what executes the payload of jobs that do not say it themselves [python]",
    )
    add("--concurrency", type=int, metavar="N", help="how many scripts are executed at a time [HERO_CONCURRENCY, 1]")
    add(
        "--stop-grace",
        type=_seconds,
        default=DEFAULT_STOP_GRACE_S,
        metavar="SECONDS",
        help="how long a running job may go on after SIGTERM; then it is killed and goes back into the queue. Should "
        "be less than the unit's TimeoutStopSec [8]",
    )
    add("--db-path", metavar="PATH", help="ignored; the original gives it to its runners")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= MAX_STOP_GRACE_S:
        raise argparse.ArgumentTypeError(f"must be from 0 to {MAX_STOP_GRACE_S:.0f}")
    return seconds


if __name__ == "__main__":
    main(sys.argv[1:])
