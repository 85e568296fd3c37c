"""The JSON-RPC code of every error. Clients may branch on the code or on ``error.data.kind``."""

from __future__ import annotations

from typing import Final

from hero_supervisor import errors

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603

#: Looked up along the class's bases, so a class without a row has its parent's code.
CODES: Final[dict[type[errors.HeroError], int]] = {
    errors.InvalidInput: INVALID_PARAMS,
    errors.RunnerNotFound: -32001,
    errors.JobNotFound: -32002,
    errors.OperationNotFound: -32006,
    errors.ScheduleNotFound: -32007,
    errors.KeyNotFound: -32016,
    errors.RunnerExists: -32003,
    errors.JobExists: -32004,
    errors.UnitExists: -32005,
    errors.KeyExists: -32015,
    errors.QueueFull: -32008,
    errors.Conflict: -32009,
    errors.UnitFailed: -32010,
    errors.OperationTimeout: -32011,
    errors.CommandNotExecutable: -32012,
    errors.SystemdRefused: -32013,
    errors.DependencyNotReady: -32014,
    errors.SystemdUnavailable: -32020,
    errors.RedisUnavailable: -32021,
    errors.JournalUnavailable: -32022,
    errors.StateUnavailable: -32023,
    errors.TooManyStreams: -32024,
    errors.PermissionDenied: -32030,
    errors.WrongSecret: -32031,
    errors.TooManyTries: -32032,
    errors.CorruptRecord: -32040,
    errors.HeroError: -32000,
}


def code_of(error: errors.HeroError) -> int:
    """Return the code of an error of ours."""
    return CODES[described_as(type(error))]


def described_as(error: type[errors.HeroError]) -> type[errors.HeroError]:
    """Return the class whose row, and so whose code, an error has."""
    return next(cls for cls in error.__mro__ if cls in CODES)
