"""What keeps runners as they are meant to be. ``Supervisor`` is the face of it.

``registry.py`` knows what is wanted; ``instances.py`` starts, stops and looks at what runs; ``reconcile.py`` brings the
two together, with ``starts.py`` for starts that may fail. Pure: ``verdict.py`` decides what a unit needs, ``retry.py``
when, ``order.py`` in which order, and ``status.py`` says in our words what systemd said.
"""
