"""Pure: a runner into the transient unit that systemd runs, and what systemd reports of a unit.

Nothing here talks to systemd. ``render.py`` is the way from a runner to a unit; ``sandbox.py`` the table of sandbox
profiles; ``job.py`` the way from a job to a unit of its own, and ``end.py`` what is left of that; ``capabilities.py``
what a manager can do, and what of a runner it cannot; ``site.py`` the names; ``transient.py`` and ``status.py`` the
data; ``command_line.py`` the same unit as a ``systemd-run`` line.

D-Bus property names are not always those of unit files (times are ``…USec``); their types are in
org.freedesktop.systemd1(5) and systemd.service(5).
"""

from .capabilities import Capabilities, faults_on
from .command_line import systemd_run_line, unsayable
from .end import UnitEnd
from .job import executor_fault, render_job
from .render import limit_properties, render
from .site import Site, instance_of
from .status import UnitStatus
from .transient import Property, TransientUnit, exec_start, flag, lifetime, no_namespaces

__all__ = [
    "Capabilities",
    "Property",
    "Site",
    "TransientUnit",
    "UnitEnd",
    "UnitStatus",
    "exec_start",
    "executor_fault",
    "faults_on",
    "flag",
    "instance_of",
    "lifetime",
    "limit_properties",
    "no_namespaces",
    "render",
    "render_job",
    "systemd_run_line",
    "unsayable",
]
