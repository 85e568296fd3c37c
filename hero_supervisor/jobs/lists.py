"""Pure: which Redis lists the processes of a runner take job ids from, and how many ids are put there.

Each instance has a list of its own, so it is known whose an id is that was taken from it. A runner with a ``queue`` of
its own and several instances is different: they share that one. So do the processes of an external runner: nobody knows
how many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hero_supervisor.queue.claims import HolderRecord
from hero_supervisor.queue.ledger import ListPlace
from hero_supervisor.runner import JobProtocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hero_supervisor.queue.keys import Keys
    from hero_supervisor.runner import Runner

    from .execution import Host

#: How many ids are put into the list of an external runner.
EXTERNAL_WINDOW: Final = 100
#: What the names of holders begin with that take from lists. Others are runs of units, which are hexadecimal.
PREFIX: Final = "list."


def list_of(runner: Runner, instance: int, keys: Keys) -> str:
    """Return the list that an instance of a runner takes ids from, if it takes them from one."""
    if runner.queue:
        return runner.queue
    return keys.work_queue(runner.id, instance if runner.job_protocol is JobProtocol.LIST else 1)


def lists_of(runner: Runner, keys: Keys) -> list[str]:
    """Return the lists that the instances of a runner take ids from; at least one, which others may push to."""
    return [list_of(runner, instance, keys) for instance in range(1, max(runner.instances, 1) + 1)]


def is_shared(runner: Runner) -> bool:
    """Whether several processes of a runner take from one list."""
    return runner.external or (bool(runner.queue) and runner.instances > 1)


def window_of(runner: Runner) -> int:
    """Return how many ids a list is given: one more than are executed, so that nobody waits for us."""
    if runner.external:
        return EXTERNAL_WINDOW
    return (runner.concurrency + 1) * (runner.instances if is_shared(runner) else 1)


def places_of(runner: Runner, units: Sequence[str], keys: Keys, host: Host) -> list[tuple[ListPlace, list[int]]]:
    """Return the lists of a runner, each with the numbers, from 0, of the units that take from it."""
    if is_shared(runner):
        record = HolderRecord(node=host.node, unit=units[0], boot_id=host.boot_id, queue=list_of(runner, 1, keys))
        return [(ListPlace(record.queue, _holder(runner, "all", host), record), list(range(len(units))))]
    return [(place_of(runner, unit, index + 1, keys, host), [index]) for index, unit in enumerate(units)]


def place_of(runner: Runner, unit: str, instance: int, keys: Keys, host: Host) -> ListPlace:
    """Return the list of one instance that shares it with none."""
    queue = list_of(runner, instance, keys)
    record = HolderRecord(node=host.node, unit=unit, instance=instance, boot_id=host.boot_id, queue=queue)
    return ListPlace(queue, _holder(runner, str(instance), host), record)


def _holder(runner: Runner, instance: str, host: Host) -> str:
    """Return what a process is called in Redis: another name for another list."""
    return f"{PREFIX}{host.node}.{instance}" + (f".{runner.queue}" if runner.queue else "")
