"""Pure, but for one look at a file: why a start failed, in words that help."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hero_supervisor.errors import CommandNotExecutable, Conflict, HeroError, UnitFailed

if TYPE_CHECKING:
    from hero_supervisor.unit import TransientUnit, UnitStatus

#: CLD_EXITED: the process ended by itself, so its status is an exit status.
EXITED: Final = 1
EXIT_EXEC: Final = 203

#: Exit statuses of a process that systemd had not yet turned into the program. Source: systemd.exec(5).
EXIT_STATUSES: Final = {
    200: ("CHDIR", "its working directory cannot be entered"),
    201: ("NICE", "its scheduling priority cannot be set"),
    202: ("FDS", "its file descriptors cannot be prepared"),
    203: ("EXEC", "its program cannot be executed"),
    204: ("MEMORY", "there is not enough memory"),
    205: ("LIMITS", "its resource limits cannot be set"),
    206: ("OOM_ADJUST", "its OOM score cannot be set"),
    207: ("SIGNAL_MASK", "its signal mask cannot be set"),
    208: ("STDIN", "its standard input cannot be opened"),
    209: ("STDOUT", "its standard output cannot be opened"),
    210: ("CHROOT", "its root directory cannot be entered"),
    211: ("IOPRIO", "its IO priority cannot be set"),
    212: ("TIMERSLACK", "its timer slack cannot be set"),
    213: ("SECUREBITS", "its secure bits cannot be set"),
    214: ("SETSCHEDULER", "its CPU scheduling cannot be set"),
    215: ("CPUAFFINITY", "its CPU affinity cannot be set"),
    216: ("GROUP", "its group does not exist or cannot be taken on"),
    217: ("USER", "its user does not exist or cannot be taken on"),
    218: ("CAPABILITIES", "its capabilities cannot be set"),
    219: ("CGROUP", "its control group cannot be set up"),
    220: ("SETSID", "its session cannot be created"),
    222: ("STDERR", "its standard error cannot be opened"),
    224: ("PAM", "its PAM session cannot be opened"),
    225: ("NETWORK", "its network namespace cannot be set up"),
    226: ("NAMESPACE", "its mount or user namespace cannot be set up"),
    227: ("NO_NEW_PRIVILEGES", "NoNewPrivileges cannot be set"),
    228: ("SECCOMP", "its system call filter cannot be set"),
    229: ("SELINUX_CONTEXT", "its SELinux context cannot be set"),
    230: ("PERSONALITY", "its execution domain cannot be set"),
    231: ("APPARMOR", "its AppArmor profile cannot be set"),
    232: ("ADDRESS_FAMILIES", "its address families cannot be restricted"),
    233: ("RUNTIME_DIRECTORY", "its runtime directory cannot be set up"),
    235: ("CHOWN", "ownership cannot be changed"),
    236: ("SMACK_PROCESS_LABEL", "its SMACK label cannot be set"),
    237: ("KEYRING", "its kernel keyring cannot be set up"),
    238: ("STATE_DIRECTORY", "its state directory cannot be set up"),
    239: ("CACHE_DIRECTORY", "its cache directory cannot be set up"),
    240: ("LOGS_DIRECTORY", "its logs directory cannot be set up"),
    241: ("CONFIGURATION_DIRECTORY", "its configuration directory cannot be set up"),
    242: ("NUMA_POLICY", "its NUMA policy cannot be set"),
    243: ("CREDENTIALS", "its credentials cannot be set up"),
    244: ("BPF", "its BPF restrictions cannot be set"),
}

_UNIT_RESULTS: Final = {
    "resources": "systemd could not prepare its process: a file it needs (its environment file?) cannot be read",
    "protocol": "its process did not say that it is ready before it ended",
    "timeout": "it was not ready within its start timeout",
    "watchdog": "its watchdog ran out",
    "oom-kill": "it ran out of memory",
    "start-limit-hit": "it was started too often in a short time",
}

#: Results that a program brings about by running, or that say nothing.
_ENDS: Final = frozenset({"success", "exit-code", "signal", "core-dump"})

_JOB_RESULTS: Final = {
    "dependency": "a unit that it needs did not start",
    "timeout": "its unit job timed out",
    "skipped": "systemd skipped it",
    "assert": "an assertion of the unit does not hold",
    "unsupported": "systemd does not support this unit here",
}


def never_ran(status: UnitStatus) -> bool:
    """Whether the unit's program was never executed: trying the same again cannot help."""
    return status.exec_main_code == EXITED and status.exec_main_status in EXIT_STATUSES


def was_started(unit: TransientUnit, status: UnitStatus) -> bool:
    """Whether a unit was started although its unit job failed.

    ``Type=exec`` means: started when the program is executed. If that ends at once, it depends on who is faster
    whether the unit job is still called done. For us it always is, and the status tells the rest.
    """
    kind = next((prop.value for prop in unit.properties if prop.name == "Type"), "")
    has_run = status.is_running or bool(status.exec_main_code)
    return kind == "exec" and has_run and not never_ran(status) and status.result in _ENDS


def start_failure(unit: TransientUnit, job_result: str, status: UnitStatus) -> HeroError:
    """Return the error for a start whose unit job did not end with 'done'.

    Looks at the program's file when that is the cause: call it in a thread.

    Args:
        unit: What was to be started.
        job_result: systemd's word for how the unit job ended.
        status: The unit's status afterwards.
    """
    facts = {"unit": unit.name, "unit_job": job_result, "result": status.result}
    start = f"cannot start unit '{unit.name}'"
    if job_result == "canceled":
        return Conflict(f"{start}: a later stop canceled it", **facts)
    if job_result != "failed":
        reason = _JOB_RESULTS.get(job_result, "see the result of its unit job")
        return UnitFailed(f"{start}: {reason} (unit job '{job_result}')", **facts)
    hint = f"its log may tell more: journalctl -u {unit.name}"
    if not never_ran(status):
        return UnitFailed(f"{start}: {_reason(status)}", hint=hint, **facts, exit_status=status.exec_main_status)
    name, reason = EXIT_STATUSES[status.exec_main_status]
    exit_status = f"{status.exec_main_status}/{name}"
    if status.exec_main_status == EXIT_EXEC:
        program = program_of(unit)
        reason = f"{start}: {program} {fault_of_program(program)}"
        return CommandNotExecutable(reason, hint=hint, **facts, exit_status=exit_status, command=program)
    return UnitFailed(f"{start}: {reason} ({exit_status})", hint=hint, **facts, exit_status=exit_status)


def program_of(unit: TransientUnit) -> str:
    """Return the program of a unit's main command; '' when it has none."""
    commands: list[Any] = [found.value for found in unit.properties if found.name in {"ExecStartEx", "ExecStart"}]
    return str(commands[0][0][0]) if commands and commands[0] else ""


def fault_of_program(program: str) -> str:
    """Return what is wrong with a program that could not be executed, to follow its name in a sentence."""
    if not program.startswith("/"):
        return "is not in systemd's search path for programs"
    try:
        mode = Path(program).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except OSError as exc:
        return f"cannot be looked at: {exc.strerror}"
    if not stat.S_ISREG(mode):
        return "is not a file"
    if not mode & 0o111:
        return "is not executable"
    return "could not be executed: its interpreter is missing, its format is wrong, or its user may not execute it"


def _reason(status: UnitStatus) -> str:
    if status.result in _UNIT_RESULTS:
        return _UNIT_RESULTS[status.result]
    if status.exec_main_code == EXITED:
        return f"its process ended with exit status {status.exec_main_status} before it was ready"
    if status.exec_main_code:
        return f"its process was killed by signal {status.exec_main_status} before it was ready"
    return f"its result is '{status.result}'"
