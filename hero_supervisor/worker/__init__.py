"""The bundled runner: takes jobs from its queue, executes their payloads, writes results back.

It speaks the original's list protocol (docs/protocol.md), so it also works under the original supervisor. It knows
jobs and Redis and nothing of the supervisor: ``loop.py`` is the life of a runner, ``execution.py`` of one job's
process, ``output.py`` what becomes of what that process prints.
"""
