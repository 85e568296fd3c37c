"""Exit records: how every run of every runner ended, from what systemd told the journal.

::

    journalctl ──► journal.py ──► folder.py ──► watcher.py ──► store.py ──► exits.jsonl
     entries       questions      runs          records        kept

systemd forgets a run with the next start, or when the unit is unloaded. The journal does not, and it is there for the
ends that happened while nobody looked.
"""

from .watcher import ExitWatcher

__all__ = ["ExitWatcher"]
