"""The bundled runner, ``hero-runner``: takes jobs from one queue and executes them, one at a time.

It speaks the original's list protocol (BLPOP an id, read the hash, write status and result into it), so it also works
under other supervisors. A tower of its own: it knows jobs and queues, and nothing of the supervisor.
"""
