"""``herosup status`` and ``herosup rpc``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.unit.cli.conftest import installed, runner_status

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Service


def test_status_prints_a_table_and_the_counts_on_standard_output(service: Service) -> None:
    service.answers["get_all_runner_status"] = [runner_status("ocr"), runner_status("mail", "stopped", since=None)]
    service.answers["get_all_status"] = {"total": 2, "counts": {"running": 1, "stopped": 1, "failed": 0}, "runners": {}}
    done = installed("status", url=service.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "ID    STATUS   SINCE    PID  RESTARTS  RESULT",
        "ocr   running  3 m ago  42   0         success",
        "mail  stopped  -        -    0         success",
        "2 runners: 1 running, 1 stopped",
    ]


def test_status_as_json_is_the_summary(service: Service) -> None:
    service.answers["get_all_status"] = {"total": 0, "counts": {}, "runners": {}}
    assert json.loads(service.herosup("status", "--json").stdout) == {"total": 0, "counts": {}, "runners": {}}


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ([], None),
        (["a=1", "b=x", "c=[1]", "d=", "e=a=b", 'f="1"'], {"a": 1, "b": "x", "c": [1], "d": "", "e": "a=b", "f": "1"}),
        (["a=NaN", "b={"], {"a": "NaN", "b": "{"}),
        (["[1, 2]"], [1, 2]),
        (['{"a": 1}'], {"a": 1}),
    ],
)
def test_rpc_passes_parameters_on(service: Service, words: list[str], params: object) -> None:
    service.answers["x"] = {"ok": True}
    result = service.herosup("rpc", "x", *words)
    assert json.loads(result.stdout) == {"ok": True}
    assert service.calls == [("x", params)]
