"""The programs in docs/integrating.md and docs/events.md."""

from __future__ import annotations

import re
from pathlib import Path

_DOCS = Path(__file__).parents[1] / "docs"


def programs(language: str, url: str, *, page: str = "integrating") -> list[str]:
    """Return the programs in a language, for a service at another address."""
    found = re.findall(f"^```{language}\n(.*?)^```$", (_DOCS / f"{page}.md").read_text(), re.DOTALL | re.MULTILINE)
    return [program.replace("//127.0.0.1:3030", url.removeprefix("http:")) for program in found]
