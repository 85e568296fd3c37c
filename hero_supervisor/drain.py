"""How a worker is asked to drain, which is to take no more jobs and to end when it has finished those it has.

systemd does not start a worker again that ended with ``DRAINED_STATUS``, and counts that as success.
"""

from __future__ import annotations

from typing import Final

#: The signal for the bundled runner; for others it is their ``drain_signal``.
DRAIN_SIGNAL: Final = "SIGUSR1"
#: The exit status of a worker that has drained.
DRAINED_STATUS: Final = 100
