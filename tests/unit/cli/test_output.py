"""What ``herosup`` prints: nothing that steers a terminal, and figures for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hero_supervisor.cli import output
from tests.unit.cli.conftest import ago, on_terminal, runner_status

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Service


def test_a_terminal_gets_colour_unless_it_is_not_wanted(service: Service) -> None:
    service.answers["get_all_runner_status"] = [runner_status("ocr")]
    assert "\x1b[32mrunning" in on_terminal("runner", "list", url=service.url, NO_COLOR="")
    assert "\x1b" not in on_terminal("runner", "list", url=service.url, NO_COLOR="1")


def test_hostile_text_cannot_steer_a_terminal(service: Service) -> None:
    service.answers["get_all_runner_status"] = [runner_status("a\x1b[2J[red]", "\u202erunning")]
    service.answers["get_job_result"] = {
        "job_id": "1",
        "status": "finished",
        "result": "a\x1b[2J\x9b\n\tb",
        "error": "",
    }
    table = on_terminal("runner", "list", url=service.url, NO_COLOR="")
    assert "a\\x1b[2J[red]" in table
    assert "\\u202erunning" in table
    assert on_terminal("job", "result", "1", url=service.url).replace("\r\n", "\n") == "a\\x1b[2J\\x9b\n\tb\n"


def test_text_that_the_output_cannot_encode_is_escaped(service: Service) -> None:
    service.answers["get_job_result"] = {"job_id": "1", "status": "finished", "result": "a\ud800"}
    assert service.herosup("job", "result", "1").stdout == "a\\ud800"


@pytest.mark.parametrize(
    ("minutes", "text"), [(3, "3 m ago"), (119, "1 h ago"), (30 * 60, "1 d ago"), (0, "now"), (-5, "now")]
)
def test_ages_are_in_the_largest_unit(minutes: int, text: str) -> None:
    assert output.age(ago(minutes=minutes)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00 s"), (0.5, "0.50 s"), (59.9, "59 s"), (3600, "1 h"), (200_000, "2 d"), (None, "-"), ("x", "-")],
)
def test_durations_are_in_the_largest_unit(value: object, text: str) -> None:
    assert output.duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 29, "1.5 GiB"), (1 << 50, "1024.0 TiB"), (True, "-")],
)
def test_sizes_are_in_the_largest_unit(value: object, text: str) -> None:
    assert output.size(value) == text


@pytest.mark.parametrize("text", ["soon", "0001-01-01T00:00:00+23:00"])
def test_an_age_that_cannot_be_told_is_left_as_it_is(text: str) -> None:
    assert output.age(text) == text
    assert output.age(None) == "-"
