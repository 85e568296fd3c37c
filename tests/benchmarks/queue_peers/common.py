"""What the programs of all queues do alike: ``PROGRAM URL drain N`` and ``PROGRAM URL serve|ask N``.

Each prints JSON. ``drain`` stores N jobs that do nothing, executes them with one worker process, and tells how many it
stored and executed in a second. ``serve`` executes jobs until it is killed; ``ask`` queues a job and waits for its
result, N times, and tells how long each took.
"""

from __future__ import annotations

import json
import sys
import time


class Count:
    """Counts executions, and calls ``on_last`` with the last one."""

    def __init__(self, number: int, on_last=lambda: None) -> None:
        self.number = number
        self.done = 0
        self.first_s = self.last_s = 0.0
        self.on_last = on_last

    def __call__(self) -> None:
        self.last_s = time.perf_counter()
        self.first_s = self.first_s or self.last_s
        self.done += 1
        if self.done == self.number:
            self.on_last()

    @property
    def per_second(self) -> float:
        return (self.done - 1) / (self.last_s - self.first_s)


def arguments() -> tuple[str, str, int]:
    """Return the URL of Redis, what to do, and how many times."""
    return sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0


def tell(**figures: object) -> None:
    print(json.dumps(figures), flush=True)
