"""The table of methods: what is callable from outside, and the scope it needs.

Adding a method means adding it to ``Supervisor`` and a row here; its parameters are read from its signature.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from hero_supervisor.scope import Scope


class Method(NamedTuple):
    """One callable method: its name on the wire and on ``Supervisor``, and who may call it."""

    name: str
    scope: Scope
    #: Whether a repeated call changes nothing further, and is answered like the first. One that queues a job is so
    #: only when that has an ``id``.
    is_idempotent: bool = True

    @property
    def changes_something(self) -> bool:
        """Whether it is more than a look."""
        return self.scope.includes(Scope.USER)


METHODS: Final = (
    # The original's twelve.
    Method("add_runner", Scope.REGISTER, is_idempotent=False),
    Method("remove_runner", Scope.ADMIN, is_idempotent=False),
    Method("list_runners", Scope.READ),
    Method("start_runner", Scope.ADMIN),
    Method("stop_runner", Scope.ADMIN),
    Method("get_runner_status", Scope.READ),
    Method("get_runner_logs", Scope.READ),
    Method("queue_job_to_runner", Scope.USER, is_idempotent=False),
    Method("get_all_runner_status", Scope.READ),
    Method("start_all", Scope.ADMIN),
    Method("stop_all", Scope.ADMIN),
    Method("get_all_status", Scope.READ),
    # Ours, and register_runner, which the original has had since 2025-08-27.
    Method("register_runner", Scope.REGISTER),
    Method("get_health", Scope.READ),
    Method("get_runner_exits", Scope.READ),
    Method("restart_runner", Scope.ADMIN, is_idempotent=False),
    Method("roll_runner", Scope.ADMIN, is_idempotent=False),
    Method("drain_runner", Scope.ADMIN),
    Method("reset_runner", Scope.ADMIN, is_idempotent=False),
    Method("reload_runner", Scope.ADMIN, is_idempotent=False),
    Method("signal_runner", Scope.ADMIN, is_idempotent=False),
    Method("kill_runner", Scope.ADMIN, is_idempotent=False),
    Method("freeze_runner", Scope.ADMIN),
    Method("thaw_runner", Scope.ADMIN),
    Method("scale_runner", Scope.ADMIN),
    Method("get_runner", Scope.ADMIN),
    Method("render_runner", Scope.ADMIN),
    Method("plan_runner", Scope.ADMIN),
    Method("update_runner", Scope.ADMIN),
    Method("operate_runners", Scope.ADMIN, is_idempotent=False),
    Method("plan_runners", Scope.ADMIN),
    Method("apply_runners", Scope.ADMIN),
    Method("get_operation", Scope.READ),
    Method("list_operations", Scope.READ),
    Method("cancel_operation", Scope.ADMIN),
    Method("get_runner_stats", Scope.READ),
    Method("get_all_runner_stats", Scope.READ),
    Method("create_job", Scope.USER, is_idempotent=False),
    Method("queue_job", Scope.USER),
    Method("queue_jobs_to_runner", Scope.USER, is_idempotent=False),
    Method("queue_and_wait", Scope.USER, is_idempotent=False),
    Method("run_job", Scope.USER, is_idempotent=False),
    Method("wait_for_jobs", Scope.READ),
    Method("wait_for_group", Scope.READ),
    Method("cancel_job", Scope.USER),
    Method("retry_job", Scope.USER, is_idempotent=False),
    Method("delete_job", Scope.USER, is_idempotent=False),
    Method("get_job", Scope.READ),
    Method("get_job_status", Scope.READ),
    Method("get_job_state", Scope.READ),
    Method("get_job_result", Scope.READ),
    Method("get_job_logs", Scope.READ),
    Method("list_jobs", Scope.READ),
    Method("get_queue_stats", Scope.READ),
    Method("get_all_queue_stats", Scope.READ),
    Method("pause_queue", Scope.ADMIN),
    Method("resume_queue", Scope.ADMIN),
    Method("set_queue_limits", Scope.ADMIN),
    Method("list_dead_jobs", Scope.READ),
    Method("retry_dead_jobs", Scope.USER, is_idempotent=False),
    Method("purge_dead_jobs", Scope.ADMIN, is_idempotent=False),
    Method("check_integrity", Scope.ADMIN),
    Method("set_schedule", Scope.USER),
    Method("get_schedule", Scope.READ),
    Method("list_schedules", Scope.READ),
    Method("remove_schedule", Scope.USER, is_idempotent=False),
    Method("create_key", Scope.ADMIN, is_idempotent=False),
    Method("list_keys", Scope.ADMIN),
    Method("remove_key", Scope.ADMIN, is_idempotent=False),
    # Whoever has a key may ask what it is good for.
    Method("verify_key", Scope.NONE),
    Method("get_audit_log", Scope.ADMIN),
)
