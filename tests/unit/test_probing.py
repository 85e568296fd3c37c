"""Commands and heartbeats, what many tries say together, and how they are repeated."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import probing
from hero_supervisor.definition.probe import Probe
from hero_supervisor.errors import (
    CommandNotExecutable,
    OperationTimeout,
    PermissionDenied,
    RedisUnavailable,
    SystemdUnavailable,
)
from hero_supervisor.probing import Checker, Health, Outcome, Prober, Threshold, Verdict, wait_healthy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEALTHY = Outcome(Verdict.HEALTHY)


def ill(reason: str) -> Outcome:
    return Outcome(Verdict.UNHEALTHY, reason)


class Commands:
    """Runs commands like the engine would: each end is one of the given, the last one for ever."""

    def __init__(self, *ends: tuple[int, str] | Exception) -> None:
        self.ends = list(ends)
        self.began_s: list[float] = []
        self.running = self.most = self.cancelled = 0
        #: Cleared, commands do not end.
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def run(self, command: tuple[str, ...], timeout_s: float) -> tuple[int, str]:
        assert (command, timeout_s) == (("check",), 0.2)
        self.began_s.append(time.monotonic())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, Exception):
            raise end
        return end


COMMAND = Probe(command=("check",), timeout_s=0.2, interval_s=0.1)


def checker(
    commands: Commands | None = None, *, key_exists: probing.KeyExists | None = None, max_commands: int = 8
) -> Checker:
    async def never(_: str) -> bool:
        raise AssertionError

    return Checker(
        run_command=(commands or Commands((0, ""))).run, key_exists=key_exists or never, max_commands=max_commands
    )


# -- commands and heartbeats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ((0, "all is well"), HEALTHY),
        ((1, "no database"), ill("exit status 1: no database")),
        ((127, ""), ill("exit status 127")),
        ((1, "x" * 10_000), ill(f"exit status 1: {'x' * 200}")),
        (OperationTimeout("killed"), ill("no answer within 0.2 s")),
        (CommandNotExecutable("cannot execute check"), ill("cannot execute check")),
        (PermissionDenied("cannot start units"), Outcome(Verdict.UNKNOWN, "cannot start units")),
        (SystemdUnavailable("cannot reach systemd"), Outcome(Verdict.UNKNOWN, "cannot reach systemd")),
    ],
)
async def test_the_end_of_a_command_decides(end: tuple[int, str] | Exception, outcome: Outcome) -> None:
    assert await checker(Commands(end)).check(COMMAND) == outcome


async def test_a_command_whose_end_is_not_reported_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "COMMAND_MARGIN_S", 0.1)
    commands = Commands((0, ""))
    commands.may_end.clear()
    outcome = await checker(commands).check(COMMAND)
    assert outcome == Outcome(Verdict.UNKNOWN, "the end of the command was not reported")
    assert commands.cancelled == 1


async def test_only_so_many_commands_run_at_once_and_waiting_takes_nothing_off_their_time() -> None:
    commands = Commands((0, ""))
    commands.may_end.clear()
    shared = checker(commands, max_commands=3)
    tries = [asyncio.create_task(shared.check(COMMAND)) for _ in range(10)]
    await asyncio.sleep(0.3)  # longer than the timeout of each
    assert commands.running == 3
    commands.may_end.set()
    assert await asyncio.gather(*tries) == [HEALTHY] * 10
    assert commands.most == 3


async def test_a_cancelled_try_ends_its_command_and_frees_its_place() -> None:
    commands = Commands((0, ""))
    commands.may_end.clear()
    shared = checker(commands, max_commands=1)
    first = asyncio.create_task(shared.check(COMMAND))
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.wait([first])
    assert (commands.cancelled, commands.running) == (1, 0)
    commands.may_end.set()
    assert await shared.check(COMMAND) == HEALTHY


async def beats(_: str) -> bool:
    return True


async def is_silent(_: str) -> bool:
    return False


async def has_no_redis(_: str) -> bool:
    raise RedisUnavailable("cannot reach Redis")


async def waits(_: str) -> bool:
    await asyncio.Event().wait()
    return True


@pytest.mark.parametrize(
    ("key_exists", "outcome"),
    [
        (beats, HEALTHY),
        (is_silent, ill("no heartbeat")),
        (has_no_redis, Outcome(Verdict.UNKNOWN, "cannot reach Redis")),
        (waits, Outcome(Verdict.UNKNOWN, "no answer of Redis within 0.2 s")),
    ],
)
async def test_a_heartbeat_is_a_key_that_exists(key_exists: probing.KeyExists, outcome: Outcome) -> None:
    probe = Probe(heartbeat="app:alive", timeout_s=0.2)
    assert await checker(key_exists=key_exists).check(probe) == outcome


# -- thresholds ----------------------------------------------------------------------------------------------------

WORDS = {"+": Verdict.HEALTHY, "-": Verdict.UNHEALTHY, "?": Verdict.UNKNOWN}


@pytest.mark.parametrize(
    ("success", "failure", "tries", "changes"),
    [
        (1, 3, "", ""),
        (1, 3, "+", "+"),
        (1, 3, "++++", "+   "),
        (1, 1, "-", "-"),
        (1, 3, "---", "  -"),
        (1, 3, "--+--+", "  +   "),
        (1, 3, "+---", "+  -"),
        (1, 3, "+--+---", "+     -"),
        (1, 1, "+-+-", "+-+-"),
        (3, 1, "++-+++", "  -  +"),
        (2, 2, "+-+-+-", "      "),
        (1, 3, "???", "   "),
        (1, 3, "+-?-?-", "+    -"),
        (2, 1, "+?+", "  +"),
        (1, 3, "---+", "  -+"),
        (1, 2, "+--------", "+ -      "),
    ],
)
def test_enough_tries_of_one_kind_in_a_row_make_a_change(success: int, failure: int, tries: str, changes: str) -> None:
    threshold = Threshold(success=success, failure=failure)
    told = []
    for each in tries:
        has_changed = threshold.feed(WORDS[each])
        told.append(("+" if threshold.healthy else "-") if has_changed else " ")
    assert "".join(told) == changes


# -- probers -------------------------------------------------------------------------------------------------------


async def collect(prober: Callable[[Callable[[Health], None]], Prober], count: int) -> Sequence[Health]:
    """Run a prober until it has told of so many changes."""
    changes: asyncio.Queue[Health] = asyncio.Queue()
    task = asyncio.create_task(prober(changes.put_nowait).run())
    async with asyncio.timeout(20):
        found = [await changes.get() for _ in range(count)]
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    return found


async def test_a_prober_tells_of_changes_only_and_with_the_last_reason() -> None:
    commands = Commands(
        (0, ""), (0, ""), (1, "one"), (1, "two"), SystemdUnavailable("away"), (1, "three"), (1, "four"), (0, "")
    )
    changes = await collect(lambda tell: Prober(COMMAND, checker(commands), tell), 3)
    assert changes == [Health(True), Health(False, "exit status 1: three"), Health(True)]


async def test_a_prober_knows_its_health_and_last_try() -> None:
    has_changed = asyncio.Event()
    prober = Prober(COMMAND, checker(Commands((1, "x"))), lambda _: has_changed.set())
    assert (prober.health, prober.last) == (Health(None), None)
    task = asyncio.create_task(prober.run())
    async with asyncio.timeout(10):
        await has_changed.wait()
    task.cancel()
    await asyncio.wait([task])
    assert prober.health == Health(False, "exit status 1: x")
    assert prober.last == ill("exit status 1: x")


async def test_a_prober_begins_a_try_once_per_interval_after_the_delay() -> None:
    commands = Commands((0, ""), (1, ""))
    probe = Probe(command=("check",), timeout_s=0.2, interval_s=0.3, initial_delay_s=0.4, failure_threshold=2)
    begin_s = time.monotonic()
    await collect(lambda tell: Prober(probe, checker(commands), tell), 2)
    first_s, second_s, third_s = commands.began_s
    assert first_s - begin_s >= 0.39
    assert second_s - first_s >= 0.29
    assert third_s - second_s >= 0.29


async def test_an_interval_includes_the_time_that_a_try_takes() -> None:
    commands = Commands((0, ""))
    commands.may_end.clear()
    asyncio.get_running_loop().call_later(1.9, commands.may_end.set)
    probe = Probe(command=("check",), timeout_s=0.2, interval_s=2, success_threshold=2)
    await collect(lambda tell: Prober(probe, checker(commands), tell), 1)
    first_s, second_s = commands.began_s
    assert 1.9 < second_s - first_s < 3.5


@pytest.mark.parametrize(
    "probe",
    [
        Probe(command=("check",), timeout_s=0.2, initial_delay_s=60),
        Probe(command=("check",), timeout_s=0.2, interval_s=60),
        COMMAND,
    ],
    ids=["in the delay", "in the pause", "in a try"],
)
async def test_a_prober_can_be_cancelled_at_any_time(probe: Probe) -> None:
    commands = Commands((0, ""))
    if probe is COMMAND:
        commands.may_end.clear()
    task = asyncio.create_task(Prober(probe, checker(commands), lambda _: None).run())
    await asyncio.sleep(0.1)
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([task])
    assert task.cancelled()
    assert commands.running == 0


async def test_many_probers_share_one_checker() -> None:
    commands = Commands((0, ""))
    shared = checker(commands, max_commands=4)
    found = await asyncio.gather(*(collect(lambda tell: Prober(COMMAND, shared, tell), 1) for _ in range(100)))
    assert found == [[Health(True)]] * 100
    assert commands.most <= 4


# -- waiting -------------------------------------------------------------------------------------------------------


async def test_waiting_takes_as_many_good_tries_as_the_threshold_says() -> None:
    commands = Commands((0, ""), (1, ""), (0, ""))
    probe = Probe(command=("check",), timeout_s=0.2, interval_s=0.1, success_threshold=3)
    await wait_healthy(probe, checker(commands), timeout_s=20)
    assert len(commands.began_s) == 5


@pytest.mark.parametrize(
    ("commands", "timing", "reason"),
    [
        (Commands((1, "no database")), {}, "exit status 1: no database"),
        (Commands(SystemdUnavailable("cannot reach systemd")), {}, "cannot reach systemd"),
        (Commands((0, "")), {"success_threshold": 100}, "not often enough in a row"),
        (Commands((0, "")), {"initial_delay_s": 60}, "there was no time to try"),
    ],
)
async def test_waiting_in_vain_ends_with_the_last_reason(
    commands: Commands, timing: dict[str, Any], reason: str
) -> None:
    probe = Probe(**{"command": ("check",), "timeout_s": 0.2, "interval_s": 0.1, **timing})
    with pytest.raises(OperationTimeout, match=f"cannot wait longer for a healthy probe: {reason}, after 0.3 s"):
        await wait_healthy(probe, checker(commands), timeout_s=0.3)
