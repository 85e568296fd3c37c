"""A short slice of the fault matrix, always the same one; all of it is run by ``make chaos`` (tests/chaos)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.test_outages import reload_systemd
from tests.chaos.test_supervisor_killed import kill_over_and_over
from tests.chaos.test_workers import (
    hostile_words_arrive,
    kill_a_worker,
    reuse_a_name,
    stop_a_worker_with_escaped_processes,
)

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(120)


def test_a_supervisor_that_is_killed_during_operations_leaves_all_as_it_is_meant_to_be(service: Service) -> None:
    kill_over_and_over(service, rounds=3, seed="slice")


def test_no_operation_is_lost_over_daemon_reloads(service: Service) -> None:
    reload_systemd(service, verbs=("daemon-reload",) * 3, seed="slice")


def test_a_worker_that_is_killed_runs_again_and_every_end_is_recorded_once(service: Service) -> None:
    kill_a_worker(service, kills=5)


def test_nothing_is_left_of_a_worker_whose_processes_forked_away(service: Service) -> None:
    stop_a_worker_with_escaped_processes(service)


def test_one_name_is_used_again_and_again(service: Service) -> None:
    reuse_a_name(service, rounds=6)


def test_hostile_words_arrive_also_after_a_restart(service: Service) -> None:
    hostile_words_arrive(service)
