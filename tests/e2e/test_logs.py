"""Logs of real runners: over HTTP, by herosup, and followed in the library."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING

from hero_supervisor import Runner, SupervisorBuilder
from hero_supervisor.settings import Manager
from tests.e2e.conftest import IS_ROOT, eventually

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

TALKER = ("/bin/sh", "-c", "echo '<3>begin Ö'; while :; do echo tick; sleep 0.1; done")


def test_the_log_of_a_runner_is_selected_over_http_and_by_herosup(service: Service) -> None:
    call = service.rpc.call
    call("add_runner", {"id": "a", "command": TALKER})
    run = call("start_runner", {"runner": "a"})["invocation_id"]
    eventually(lambda: len(call("get_runner_logs", {"runner": "a", "grep": "TICK"})) >= 2)
    (begin,) = call("get_runner_logs", {"runner": "a", "priority": "err", "invocation_id": run, "instance": 1})
    assert (begin["message"], begin["kind"], begin["instance"]) == ("begin Ö", "line", 1)
    after = call("get_runner_logs", {"runner": "a", "after_cursor": begin["cursor"], "lines": 1, "grep": "tick"})
    assert [record["message"] for record in after] == ["tick"]
    assert call("get_runner_logs", {"runner": "a", "instance": 2}) == []
    done = service.herosup(*["runner", "logs", "a", "-p", "3", "-S", "-1h", "--json", "--run"], run)
    assert json.loads(done.stdout) == [begin]


async def test_a_program_follows_a_runner_from_before_its_start_to_its_end(stopped_service: Service) -> None:
    builder = SupervisorBuilder().namespace(stopped_service.namespace).state_dir(stopped_service.state_dir)
    async with await builder.process_manager(Manager.SYSTEM if IS_ROOT else Manager.USER).build() as supervisor:
        await supervisor.add_runner(Runner(id="a", command=TALKER))
        async with aclosing(supervisor.follow_runner_logs("a", lines=0)) as records, asyncio.timeout(30):
            first = asyncio.ensure_future(anext(records))
            await asyncio.sleep(0.5)  # nobody tells when it has begun to follow
            await supervisor.start_runner("a")
            messages = [(await first).message]
            while "tick" not in messages:
                messages.append((await anext(records)).message)
            await supervisor.stop_runner("a")
            while not messages[-1].startswith("Stopped"):
                messages.append((await anext(records)).message)
        assert any(message.startswith("Start") for message in messages)
        assert "begin Ö" in messages
