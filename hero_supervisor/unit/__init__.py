"""Pure: a runner into the transient unit that systemd runs, and what systemd reports of a unit.

Nothing here talks to systemd. ``render.py`` is the way from a runner to a unit; ``sandbox.py`` the table of sandbox
profiles; ``capabilities.py`` what a manager can do, and what of a runner it cannot; ``site.py`` the names;
``transient.py`` and ``status.py`` the data; ``command_line.py`` the same unit as a ``systemd-run`` line.

D-Bus property names are not always those of unit files (times are ``…USec``); their types are in
org.freedesktop.systemd1(5) and systemd.service(5).
"""

from .capabilities import Capabilities, faults_on
from .command_line import systemd_run_line, unsayable
from .render import limit_properties, render
from .site import Site, instance_of
from .status import UnitStatus
from .transient import Property, TransientUnit, exec_start, flag, lifetime, no_namespaces

__all__ = [
    "Capabilities",
    "Property",
    "Site",
    "TransientUnit",
    "UnitStatus",
    "exec_start",
    "faults_on",
    "flag",
    "instance_of",
    "lifetime",
    "limit_properties",
    "no_namespaces",
    "render",
    "systemd_run_line",
    "unsayable",
]
