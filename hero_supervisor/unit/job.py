"""A job into its transient unit, for runners of the protocol ``unit``: what the runner says, for one program's run.

**The payload** is a file that only the supervisor can reach. It is opened by systemd as the standard input, and
``/dev/stdin`` opens it once more, from its beginning: so it can be read either way by any user in any sandbox, and a
script may be read from it while its children read standard input. Rejected: a credential (it takes a mount for each
job, and payload and credentials of the runner together may not be larger than 1 MB); ``sh -s`` and ``python -`` (a
child that reads standard input eats the rest of the script).

**The end** is to be read by whoever comes, now or after a restart of the supervisor, without a reference of ours. So
the unit remains: ``active (exited)`` after a good end, by ``RemainAfterExit``, and ``failed`` after another, by
``CollectMode=inactive``. It is not loaded any more when it was stopped on request, or with the machine. Measured on
252: all this, with the exit status and the times, holds across daemon-reload and daemon-reexec, also for a unit whose
command a reload has lost (``systemd/transient_file.py``); nothing starts it again, so that is not corrected.

``Type=simple``, so that no unit job waits for a program to be executed: PID 1 has a match rule on the bus for each unit
job (``systemd/unit_references.py``), and there may be a thousand jobs. What could not be executed ends with a status of
systemd's own.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from hero_supervisor.runner import Executor

from .capabilities import Capabilities
from .render import bounds, identity, log_properties
from .transient import Property, TransientUnit, duration, exec_start, flag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from hero_supervisor.job import Job
    from hero_supervisor.runner import Runner

    from .site import Site

#: The argument of a command that stands for the path of the payload, and that path.
PAYLOAD_WORD: Final = "{payload_file}"
PAYLOAD_PATH: Final = "/dev/stdin"

_INTERPRETERS: Final[Mapping[str, tuple[str, ...]]] = {
    # -P keeps what happens to be the script's directory out of the module search path.
    Executor.PYTHON: (sys.executable, "-P", PAYLOAD_WORD),
    Executor.SHELL: ("/bin/sh", PAYLOAD_WORD),
}


def render_job(
    runner: Runner,
    job: Job,
    site: Site,
    *,
    attempt: int,
    payload: Path,
    output: Path,
    capabilities: Capabilities | None = None,
) -> TransientUnit:
    """Render an attempt of a job into its unit.

    Args:
        runner: A valid runner.
        job: A valid job for which ``executor_fault`` returns nothing.
        site: What the supervisor's units have in common.
        attempt: Which attempt, from 1 up.
        payload: File with the payload, which every user may read.
        output: File to which the standard output is appended.
        capabilities: What the manager can do; what the oldest system manager can when not given.
    """
    capabilities = capabilities or Capabilities()
    if job.limits is not None:
        runner = replace(runner, limits=job.limits.within(runner.limits))
    fields = _fields(runner, job, site, attempt)
    properties = (
        Property("Description", "s", f"Hero job {job.id} of runner {runner.id}"),
        Property("Slice", "s", site.job_slice),
        exec_start(job_command(runner, job)),
        Property("Environment", "as", [f"{name}={value}" for name, value in _environment(runner, job, fields).items()]),
        *identity(runner),
        *_streams(payload, output),
        *_life(runner, job),
        *bounds(runner, site, capabilities),
        *log_properties(runner, fields),
    )
    return TransientUnit(
        name=site.job_unit_name(runner.id, job.id, attempt),
        properties=tuple(prop for prop in properties if capabilities.knows(prop.name)),
        start_timeout_s=runner.start_timeout_s,
        stop_timeout_s=runner.stop_timeout_s,
        left_out=tuple(prop.name for prop in properties if not capabilities.knows(prop.name)),
    )


def job_command(runner: Runner, job: Job) -> tuple[str, ...]:
    """Return the argument vector that executes a job: the runner's command, or an interpreter and the payload."""
    command = runner.command or _INTERPRETERS[job.executor or runner.executor or ""]
    return tuple(PAYLOAD_PATH if word == PAYLOAD_WORD else word for word in command)


def executor_fault(runner: Runner, job: Job) -> str:
    """Return why a runner cannot execute a job, as a sentence; '' when it can."""
    if runner.command or (job.executor or runner.executor) in _INTERPRETERS:
        return ""
    return f"cannot execute: no executor '{job.executor}'; known are: {', '.join(_INTERPRETERS)}"


def _fields(runner: Runner, job: Job, site: Site, attempt: int) -> dict[str, object]:
    return {
        "HERO_JOB_ID": job.id,
        "HERO_ATTEMPT": attempt,
        "HERO_RUNNER": runner.id,
        "HERO_NAMESPACE": site.namespace,
    }


def _environment(runner: Runner, job: Job, fields: Mapping[str, object]) -> Mapping[str, object]:
    return {
        **runner.env,
        **job.env_vars,
        # The names that the original gives to scripts.
        "CALLER_ID": job.caller_id,
        "CONTEXT_ID": job.context_id,
        "HERO_PAYLOAD_FILE": PAYLOAD_PATH,
        **fields,
    }


def _streams(payload: Path, output: Path) -> Iterable[Property]:
    yield Property("StandardInputFile", "s", str(payload))
    yield Property("StandardOutputFileToAppend", "s", str(output))
    yield Property("StandardError", "s", "journal")


def _life(runner: Runner, job: Job) -> Iterable[Property]:
    yield Property("Type", "s", "simple")
    yield Property("Restart", "s", "no")
    yield flag("RemainAfterExit")
    yield Property("CollectMode", "s", "inactive")
    yield duration("RuntimeMaxUSec", job.timeout)
    yield duration("TimeoutStartUSec", runner.start_timeout_s)
    yield duration("TimeoutStopUSec", runner.stop_timeout_s)
    yield Property("KillMode", "s", "control-group")
    yield Property("KillSignal", "i", signal.Signals[runner.stop_signal].value)
    yield flag("SendSIGKILL")
