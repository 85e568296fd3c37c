"""The registry when the disk is full; all else of it is tested through the supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hero_supervisor import state as state_module
from hero_supervisor.engine.registry import Registry
from hero_supervisor.errors import StateUnavailable
from hero_supervisor.runner import Runner
from hero_supervisor.state import Desired, StateDirectory

if TYPE_CHECKING:
    from pathlib import Path

RUNNER = Runner(id="a", command=("/bin/true",))


def _full(*_: object) -> None:
    raise OSError("no space left on device")


async def test_what_could_not_be_written_down_has_not_happened_and_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = StateDirectory(tmp_path)
    registry = Registry(state)
    with monkeypatch.context() as context:
        context.setattr(state_module, "replace_file", _full)
        with pytest.raises(StateUnavailable, match="no space"):
            await registry.add(RUNNER, is_declared=False)
    assert "a" not in registry
    await registry.add(RUNNER, is_declared=False)
    with monkeypatch.context() as context:
        context.setattr(state_module, "replace_file", _full)
        with pytest.raises(StateUnavailable, match="no space"):
            await registry.want("a", Desired.RUNNING)
        with pytest.raises(StateUnavailable, match="no space"):
            await registry.remove("a")
    assert registry.get("a").desired is Desired.STOPPED
    await registry.want("a", Desired.RUNNING)
    assert state.load()["a"].desired is Desired.RUNNING
