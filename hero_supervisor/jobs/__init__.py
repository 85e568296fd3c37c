"""What a supervisor does about jobs: sees to it that each is executed, ended in time, and never lost.

``keeper.py`` is the loop. For each protocol there is one ``Execution`` (``execution.py``): ``claimed.py``,
``listed.py`` and ``units.py``, which has the files ``unit_*.py`` for itself. ``scheduler.py`` makes jobs when their
time has come. How jobs lie in Redis is the business of ``queue/``; when processes run, of ``engine/``.
"""
