"""``herosup``: drives a running service over HTTP, from the command line.

Only this entry point may be loaded without the ``cli`` extra. Nothing of the server is imported: completion starts
the program on every TAB.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run ``herosup`` with the arguments of this process."""
    try:
        from .app import run
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.stderr.write("herosup needs typer: pip install 'hero-supervisor[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    run()
