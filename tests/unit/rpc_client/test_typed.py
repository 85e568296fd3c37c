"""The typed methods: made from the table, what they send, what they make of answers."""

from __future__ import annotations

import inspect
import pickle
import runpy
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.definition.limits import Limits
from hero_supervisor.definition.restart import Backoff
from hero_supervisor.errors import Conflict, HeroError, InvalidInput, InvalidRunner, NotFound, RunnerNotFound
from hero_supervisor.job import CrashPolicy, Job, JobResult, JobStatus
from hero_supervisor.records import Verb
from hero_supervisor.rpc.methods import METHODS
from hero_supervisor.rpc_client import AsyncRpcClient, RpcClient, RpcError, UnexpectedAnswer
from hero_supervisor.rpc_client.failures import error_from
from hero_supervisor.rpc_client.typed import allowance_s, plain
from hero_supervisor.runner import Executor, Runner
from hero_supervisor.supervisor import Supervisor
from tests.unit.rpc_client.conftest import answer

if TYPE_CHECKING:
    from tests.unit.rpc_client.conftest import Peer

ROOT = Path(__file__).parents[3]
STATUS = {
    "id": "a",
    "instance": 1,
    "status": "running",
    "unit": "u",
    "active_state": "active",
    "sub_state": "running",
    "main_pid": 1,
    "invocation_id": None,
    "since": "2026-07-02T10:00:00Z",
    "restarts": 0,
    "result": "success",
    "exit_status": None,
    "next_start": None,
    "desired": "running",
    "instances": [],
}


@pytest.mark.parametrize("name", ["methods.py", "async_methods.py", "idempotent.py"])
def test_what_is_checked_in_is_what_the_code_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["client.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "packaging/dev/client.py"), run_name="__main__")
    made = ROOT / "hero_supervisor/rpc_client" / name
    assert (tmp_path / name).read_text() == made.read_text(), "run: make docs"


@pytest.mark.parametrize("client", [RpcClient, AsyncRpcClient])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_method_is_that_of_the_supervisor(client: type, method: Any) -> None:
    theirs, ours = getattr(Supervisor, method.name), getattr(client, method.name)
    assert inspect.getdoc(ours) == inspect.getdoc(theirs)
    shape = [(each.name, each.kind, each.default) for each in inspect.signature(theirs).parameters.values()]
    assert shape == [(each.name, each.kind, each.default) for each in inspect.signature(ours).parameters.values()]
    assert inspect.iscoroutinefunction(ours) is (client is AsyncRpcClient)


def params_of(peer: Peer, result: object) -> list[Any]:
    seen: list[Any] = []

    def turn(request: dict[str, Any]) -> bytes:
        seen.append(request.get("params"))
        return answer(request, result=result)

    peer.turns = [[turn] * 10]
    return seen


def test_arguments_are_sent_as_json_and_answers_become_types(peer: Peer) -> None:
    seen = params_of(peer, STATUS)
    with RpcClient(peer.url) as client:
        status = client.start_runner("a")
    assert (status.id, status.since) == ("a", datetime(2026, 7, 2, 10, tzinfo=UTC))
    assert seen == [{"runner": "a"}]


def test_nothing_is_sent_for_arguments_that_are_not_given(peer: Peer) -> None:
    seen = params_of(peer, [])
    with RpcClient(peer.url) as client:
        assert client.list_jobs(JobStatus.ERROR, since=datetime(2026, 7, 2, tzinfo=UTC)) == []
    assert seen == [{"status": "error", "since": "2026-07-02T00:00:00Z", "limit": 100}]


async def test_so_it_is_with_the_other_client(peer: Peer) -> None:
    seen = params_of(peer, None)
    async with AsyncRpcClient(peer.url) as client:
        await client.signal_runner("a", "SIGHUP")
        with pytest.raises(UnexpectedAnswer):
            await client.operate_runners(Verb.START, ("a", "b"), wait=False)
    assert seen[0] == {"runner": "a", "signal": "SIGHUP"}
    assert seen[1] == {"verb": "start", "runners": ["a", "b"], "wait": False}


def test_what_is_as_usual_is_not_sent(peer: Peer) -> None:
    seen = params_of(peer, [])
    job = Job(id="j", payload="x", priority=5, labels={"a": "b"}, on_crash=CrashPolicy.FAIL)
    with RpcClient(peer.url) as client:
        client.queue_jobs_to_runner("a", (job,))
        client.plan_runners((Runner(id="a", executor=Executor.SHELL, backoff=Backoff(), limits=Limits(tasks_max=1)),))
    (sent,) = seen[0]["jobs"]
    assert sent.keys() == {"id", "payload", "labels", "on_crash", "created_at", "updated_at"}
    (runner,) = seen[1]["runners"]
    assert runner.keys() == {"id", "executor", "limits"}
    assert runner["limits"]["tasks_max"] == 1


@pytest.mark.parametrize("job", [Job(payload="x"), Job(payload="x", env_vars={"A": "b"}, max_retries=2, timeout=1)])
def test_what_is_sent_means_the_same_again(job: Job) -> None:
    assert Job.from_data(plain({"job": job})["job"]) == job


@pytest.mark.parametrize("result", [None, [], "x", {"id": "a"}, {**STATUS, "main_pid": "1"}, {**STATUS, "since": "no"}])
def test_an_answer_of_another_form_is_told(peer: Peer, result: object) -> None:
    params_of(peer, result)
    with RpcClient(peer.url) as client, pytest.raises(UnexpectedAnswer, match="cannot use the answer of start_runner"):
        client.start_runner("a")


def test_an_answer_may_have_more_than_is_known(peer: Peer) -> None:
    params_of(peer, {"job_id": "j", "status": "finished", "result": "42", "new": 1})
    with RpcClient(peer.url) as client:
        assert client.get_job_result("j") == JobResult(job_id="j", status=JobStatus.FINISHED, result="42")


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ({"runner": "a"}, 0),
        ({"timeout": 5.0}, 5),
        ({"job": Job(payload="", timeout=7), "timeout": 5}, 5),
        ({"job": Job(payload="", timeout=7), "timeout": None}, 67),
        ({"job": Job(payload="", timeout=7)}, 0),
        ({"timeout": None}, 0),
    ],
)
def test_a_call_that_waits_may_take_longer(arguments: dict[str, object], seconds: float) -> None:
    assert allowance_s(arguments) == seconds


# -- errors --------------------------------------------------------------------------------------------------------


def kinds() -> list[type[HeroError]]:
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, HeroError)]
    return [each for each in classes if each is not HeroError]


@pytest.mark.parametrize("ours", kinds())
def test_an_error_is_of_the_class_that_its_kind_names(ours: type[HeroError]) -> None:
    error = error_from(-1, "cannot", {"kind": ours.kind, "hint": "do", "runner": "a"})
    assert isinstance(error, ours)
    assert isinstance(error, RpcError)
    assert (error.code, error.kind, error.hint, error.facts["runner"]) == (-1, ours.kind, "do", "a")
    assert str(error) == error.message == "cannot"


def test_an_error_is_of_the_classes_above_too_and_of_no_other() -> None:
    error = error_from(-1, "cannot", {"kind": "runner-not-found"})
    assert isinstance(error, NotFound)
    assert not isinstance(error, Conflict)
    assert type(error).__name__ == "RunnerNotFound"


@pytest.mark.parametrize("data", [None, 7, {"kind": "new"}, {"kind": ["a"]}, {"kind": "error"}])
def test_an_error_of_another_kind_is_an_rpc_error(data: object) -> None:
    assert type(error_from(-1, "cannot", data)) is RpcError


@pytest.mark.parametrize("faults", [None, "x", [1], [{"path": 1}]])
def test_faults_are_those_of_the_service(faults: object) -> None:
    listed = [{"path": "id", "message": "is required"}]
    error = error_from(-32602, "cannot", {"kind": "invalid-runner", "faults": listed})
    assert isinstance(error, InvalidRunner)
    assert error.faults[0] == ("id", "is required")
    assert isinstance(error_from(-32602, "cannot", {"kind": "invalid-input", "faults": faults}), InvalidInput)


def test_an_error_can_be_pickled() -> None:
    error = error_from(-1, "cannot", {"kind": "runner-not-found", "hint": "do", "runner": "a"})
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    assert isinstance(again, RunnerNotFound)
    assert (again.data(), str(again)) == (error.data(), str(error))


def test_an_error_is_caught_as_with_the_library(peer: Peer) -> None:
    error = {"code": -32001, "message": "cannot find it", "data": {"kind": "runner-not-found"}}
    peer.turns = [[lambda request: answer(request, error=error)]]
    with RpcClient(peer.url) as client, pytest.raises(RunnerNotFound, match="cannot find it"):
        client.start_runner("a")
