"""Operations on many runners at once, chosen by ids, globs and labels.

An operation begins at once and has an id; with ``wait`` the caller gets it when it has ended. One runner's failure does
not touch the others: each has its own outcome. Starts go in the order of ``after``, stops in reverse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Annotated, Any

from msgspec import Meta

from hero_supervisor.definition.restart import PositiveSeconds
from hero_supervisor.engine.order import stages
from hero_supervisor.engine.selection import select
from hero_supervisor.errors import Fault, InvalidInput
from hero_supervisor.records import Operation, RunnerOutcome, RunnerState, RunnerStatus, StatusSummary, Verb

from .changes import ChangeOperations
from .control import ControlOperations, SignalName

Patterns = Annotated[
    tuple[Annotated[str, Meta(max_length=200)], ...],
    Meta(max_length=1000, description="Ids of runners, or globs such as 'web-*'; '*' is all."),
]
Labels = Annotated[
    dict[str, str], Meta(max_length=64, description="Labels that a runner must have, all of them, with their values.")
]
OperationId = Annotated[str, Meta(max_length=64, description="Id of an operation.")]

#: Verbs whose order is that of ``after`` reversed: what needs others goes first.
_DEPENDENTS_FIRST = frozenset({Verb.STOP, Verb.REMOVE, Verb.DRAIN})


class FleetOperations(ControlOperations, ChangeOperations):
    """What can be done to many runners."""

    async def operate_runners(
        self,
        verb: Verb,
        runners: Patterns = (),
        labels: Labels | None = None,
        signal: SignalName | None = None,
        wait: bool = True,  # noqa: FBT001, FBT002  # an argument's name on the wire
        timeout: PositiveSeconds | None = None,  # noqa: ASYNC109  # likewise
    ) -> Operation:
        """Do something to many runners, side by side.

        Args:
            verb: What to do.
            runners: Ids and globs.
            labels: Only runners that have these; without ``runners`` all that have them.
            signal: The signal to send, for the verb ``signal``.
            wait: Return when all is done, and not at once.
            timeout: Seconds after which to return all the same; the operation goes on.

        Returns:
            The operation, with an outcome for each runner.

        Raises:
            InvalidInput: Neither runners nor labels are given, or a signal is missing or given in vain.
            RunnerNotFound: A pattern, or the labels, match no runner.
        """
        if verb is Verb.APPLY:
            raise InvalidInput([Fault("verb", "is not one for chosen runners: call apply_runners")])
        if (signal is not None) != (verb is Verb.SIGNAL):
            raise InvalidInput([Fault("signal", "goes with the verb 'signal', and with no other")])
        definitions = [self._registry.get(id).definition for id in self._registry]
        chosen = select(definitions, runners, labels or {})
        id = self._bulk.begin(verb, self._stages(chosen, verb), self._work(verb, signal))
        if wait:
            await self._bulk.wait(id, timeout_s=timeout)
        return self._bulk.get(id)

    async def get_operation(self, operation_id: OperationId) -> Operation:
        """Return an operation as it stands.

        Raises:
            OperationNotFound: No operation has this id, or it was long ago.
        """
        return self._bulk.get(operation_id)

    async def list_operations(self) -> list[Operation]:
        """Return the operations that are under way, and the latest that have ended, newest first."""
        return self._bulk.all()

    async def cancel_operation(self, operation_id: OperationId) -> Operation:
        """Stop an operation from going on; what systemd was asked to do goes on there.

        Raises:
            OperationNotFound: No operation has this id, or it was long ago.
        """
        return await self._bulk.cancel(operation_id)

    async def get_all_runner_status(self) -> list[RunnerStatus]:
        """Return the status of every runner, in the order of ``list_runners``.

        Raises:
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._statuses(None)

    async def _statuses(self, runners: Iterable[str] | None) -> list[RunnerStatus]:
        """Return the statuses of runners, of all for ``None``; those that are not there are left out."""
        wanted = self._registry if runners is None else [runner for runner in runners if runner in self._registry]
        stored = [self._registry.get(runner) for runner in wanted]  # those of now: one may be removed meanwhile
        if not stored and runners is not None:
            return []
        looks = await self._instances.look_at_all([each.definition for each in stored])
        return [self._reconciler.status(each, units) for each, units in zip(stored, looks, strict=True)]

    async def get_all_status(self) -> StatusSummary:
        """Return how many runners are in each status, and the status of each.

        Raises:
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        statuses = await self.get_all_runner_status()
        found = Counter(status.status for status in statuses)
        return StatusSummary(
            total=len(statuses),
            counts={state.value: found[state] for state in RunnerState},
            runners={status.id: status.status for status in statuses},
        )

    async def start_all(self) -> list[RunnerOutcome]:
        """Start all runners; what became of each is reported, and none stops the others."""
        return await self._do_to_all(Verb.START)

    async def stop_all(self) -> list[RunnerOutcome]:
        """Stop all runners; what became of each is reported, and none stops the others."""
        return await self._do_to_all(Verb.STOP)

    # -- inside --------------------------------------------------------------------------------------------------

    async def _do_to_all(self, verb: Verb) -> list[RunnerOutcome]:
        id = self._bulk.begin(verb, self._stages(list(self._registry), verb), self._work(verb, None))
        await self._bulk.wait(id)
        outcomes = {outcome.id: outcome for outcome in self._bulk.get(id).outcomes}
        return [outcomes[runner] for runner in self._registry if runner in outcomes]

    def _stages(self, runners: list[str], verb: Verb) -> list[list[str]]:
        groups = stages(runners, {runner: self._registry.get(runner).definition.after for runner in runners})
        return groups[::-1] if verb in _DEPENDENTS_FIRST else groups

    def _work(self, verb: Verb, signal: str | None) -> Callable[[str], Awaitable[RunnerState | None]]:
        method: Callable[..., Awaitable[Any]] = getattr(self, f"{verb}_runner")
        call = partial(method, signal=signal) if signal is not None else method

        async def work(runner: str) -> RunnerState | None:
            answer = await call(runner)
            return answer.status if isinstance(answer, RunnerStatus) else None

        return work
