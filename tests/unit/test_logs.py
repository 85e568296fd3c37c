"""Log directives as the original has them."""

from __future__ import annotations

import logging

import pytest

from hero_supervisor.errors import InvalidSettings
from hero_supervisor.logs import TRACE, directives_from, parse_directives


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("error", {"": logging.ERROR}),
        ("INFO", {"": logging.INFO}),
        ("trace", {"": TRACE}),
        ("hero_supervisor=debug", {"": logging.ERROR, "hero_supervisor": logging.DEBUG}),
        ("hero_supervisor::systemd=debug,info", {"": logging.INFO, "hero_supervisor.systemd": logging.DEBUG}),
        ("hero_supervisor.systemd", {"": logging.ERROR, "hero_supervisor.systemd": TRACE}),
        (" info , uvicorn=off ", {"": logging.INFO, "uvicorn": logging.CRITICAL + 10}),
        ("", {"": logging.ERROR}),
    ],
)
def test_directives_set_levels_by_module(text: str, levels: dict[str, int]) -> None:
    assert parse_directives(text) == levels


def test_a_directive_without_a_level_is_refused_with_the_levels_there_are() -> None:
    with pytest.raises(InvalidSettings, match="'loud' is not a level; levels are off, error, warn"):
        parse_directives("hero_supervisor=loud")


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({}, "error"),
        ({"RUST_LOG": "info"}, "info"),
        ({"RUST_LOG": "info", "HERO_LOG": "debug"}, "debug"),
    ],
)
def test_hero_log_wins_over_rust_log(environ: dict[str, str], text: str) -> None:
    assert directives_from(environ) == text
