"""The main job, seen from a client: add two runners, queue a batch of job files, wait, show what came of it.

Speaks plain JSON-RPC over HTTP with the standard library, so it is also an example of a client.
Usage: demo.py [URL]; exit status 0 when every job ended as its file says it should.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
JOBS = PROJECT / "docs/examples/jobs"
RUNNERS = ({"id": "demo-python", "executor": "python"}, {"id": "demo-shell", "executor": "shell"})
URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3030"
DEADLINE_S = 120

_numbers = itertools.count(1)


def call(method: str, **params: object) -> Any:
    """Call a method; a JSON-RPC error ends the demo with its message."""
    request = {"jsonrpc": "2.0", "method": method, "params": params, "id": next(_numbers)}
    body = json.dumps(request).encode()
    http = urllib.request.Request(URL, body, {"Content-Type": "application/json"})  # noqa: S310  # our own URL
    with urllib.request.urlopen(http, timeout=30) as response:  # noqa: S310
        answer = json.load(response)
    if "error" in answer:
        sys.exit(f"{method}: {answer['error']['message']}")
    return answer["result"]


def start_runners() -> None:
    """Add and start the two runners; ones that are left from an earlier demo are used again."""
    known = call("list_runners")
    for runner in RUNNERS:
        if runner["id"] not in known:
            call("add_runner", runner=runner)
        status = call("start_runner", runner=runner["id"])
        print(f"runner {status['id']}: {status['status']}, process {status['main_pid']}, unit {status['unit']}")


def queue_jobs() -> dict[str, dict[str, Any]]:
    """Queue every job file and return the files by job id."""
    queued = {}
    for path in sorted(JOBS.glob("*.toml")):
        file = tomllib.loads(path.read_text(encoding="utf-8"))
        env_vars = file["job"].get("env_vars", {})
        job = file["job"] | {"env_vars": {k: v.replace("${PROJECT}", str(PROJECT)) for k, v in env_vars.items()}}
        job_id = call("queue_job_to_runner", runner=file["runner"], job=job)
        queued[job_id] = file | {"name": path.stem}
        print(f"queued {path.stem} to {file['runner']} as job {job_id}")
    return queued


def wait_for(job_ids: list[str]) -> None:
    """Show how the jobs get on until all have ended."""
    deadline = time.monotonic() + DEADLINE_S
    shown: list[str] = []
    while time.monotonic() < deadline:
        statuses = [call("get_job_status", job_id=job_id) for job_id in job_ids]
        if statuses != shown:
            ended = sum(status in {"finished", "error"} for status in statuses)
            print(f"{ended} of {len(job_ids)} jobs have ended: {', '.join(statuses)}")
            shown = statuses
        if all(status in {"finished", "error"} for status in statuses):
            return
        time.sleep(0.1)
    sys.exit(f"the jobs have not ended within {DEADLINE_S} s")


def report(job_id: str, file: dict[str, Any]) -> bool:
    """Print a job's result and its journal lines; return whether it ended as its file says."""
    result = call("get_job_result", job_id=job_id)
    text = result["result"] if result["status"] == "finished" else result["error"]
    expected = file["expect"]
    is_right = result["status"] == expected["status"] and expected["contains"] in text
    print(f"\n{file['name']}: {result['status']}{'' if is_right else ', NOT AS EXPECTED: ' + json.dumps(expected)}")
    print("".join(f"  {line}\n" for line in text.splitlines()), end="")
    print(f"  journal of {file['runner']} for this job:")
    for record in call("get_runner_logs", runner=file["runner"], job_id=job_id, lines=5):
        print(f"    {record['timestamp']} {record['message']}")
    return is_right


def main() -> int:
    """Run the demo and return its exit status."""
    start_runners()
    queued = queue_jobs()
    wait_for(list(queued))
    right = [report(job_id, file) for job_id, file in queued.items()]
    print(f"\n{sum(right)} of {len(right)} jobs ended as their files say")
    return os.EX_OK if right and all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
