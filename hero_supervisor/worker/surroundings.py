"""Pure: the environment of a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hero_supervisor.job import Job

#: What a script sees of the runner's own environment. Not the rest: the Redis URL may hold a password, and
#: systemd's variables (NOTIFY_SOCKET, LISTEN_FDS, …) are addressed to the runner.
PASSED_ON: Final = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR")
DEFAULTS: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    # Its lines are in the journal when they are printed, not when it ends.
    "PYTHONUNBUFFERED": "1",
}


def environment_of(job: Job, *, attempt: int, runner: str, own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a job's script.

    Args:
        job: The job; its variables replace those of the runner.
        attempt: Which attempt it is, from 1.
        runner: Id of the runner.
        own: The runner's environment.
    """
    return {
        **DEFAULTS,
        **{name: own[name] for name in PASSED_ON if own.get(name)},
        **job.env_vars,
        # The names that the original gives to scripts.
        "CALLER_ID": job.caller_id,
        "CONTEXT_ID": job.context_id,
        "HERO_JOB_ID": job.id,
        "HERO_ATTEMPT": str(attempt),
        "HERO_RUNNER": runner,
    }
