"""systemd over D-Bus: the only package that imports a D-Bus library.

``manager.py`` has the verbs, and ``unit_starts.py`` what a start takes; ``bus.py`` keeps a connection to the manager;
``connection.py`` is one connection; ``library.py`` is the D-Bus library, mended; ``unit_jobs.py`` waits for unit jobs;
``unit_status.py`` reads statuses, ``known_units.py`` keeps them; ``transient_file.py`` corrects what systemd writes;
``start_failures.py`` and ``refusals.py`` turn what systemd says into our errors.
"""

from .manager import SystemdManager

__all__ = ["SystemdManager"]
