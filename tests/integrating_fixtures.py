"""The programs in docs/integrating.md."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).parents[1] / "docs/integrating.md"


def programs(language: str, url: str) -> list[str]:
    """Return the programs in a language, for a service at another address."""
    found = re.findall(f"^```{language}\n(.*?)^```$", _PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [program.replace("http://127.0.0.1:3030", url) for program in found]
