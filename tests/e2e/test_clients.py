"""Clients that nobody here wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import jsonrpcclient
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(60)


def _parsed(response: httpx.Response) -> Any:
    return jsonrpcclient.parse(response.json())


def test_jsonrpcclient_with_httpx_gets_results_errors_and_batches(service: Service) -> None:
    with httpx.Client(base_url=service.url) as http:
        added = http.post("/", json=jsonrpcclient.request("add_runner", params={"id": "a", "executor": "python"}))
        assert _parsed(added).result["status"] == "stopped"
        unknown = _parsed(http.post("/", json=jsonrpcclient.request("start_runner", ("b",))))
        assert isinstance(unknown, jsonrpcclient.Error)
        assert unknown.code == -32001
        batch = [jsonrpcclient.request("list_runners"), jsonrpcclient.request("get_all_status")]
        listed, summary = _parsed(http.post("/rpc", json=batch))
        assert listed.result == ["a"]
        assert summary.result["total"] == 1
