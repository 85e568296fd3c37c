"""Every Redis key, with its type, content, writer and reader. No other file spells a key.

``{ns}`` is the namespace, ``hero`` by default. Names and types of the first three are the original's.

====================================  ======  ==================================================================
key                                   type    content
====================================  ======  ==================================================================
``{ns}:job:{id}``                     hash    one job (fields: ``queue/records.py``). Written by the supervisor,
                                              clients and runners, read by anyone. Removed some time after its end.
``{ns}:q:work:type:{runner}``         list    ids of jobs for a runner that takes them with BLPOP, next one on the
                                              left. What foreign clients push there is taken into the queue.
                                              Further instances have ``…:inst:N``, with N from 2.
``{ns}:q:reply:{id}``                 list    one element, the result or error of a job that a foreign client has
                                              pushed. For that client. Expires after an hour.
``{ns}:queues``                       set     names of all runners that ever had a job, a process or a setting
``{ns}:dependents:{id}``              set     ids of jobs that wait for the end of this one
``{ns}:group:{name}``                 hash    how many jobs of a group are open, finished, error, cancelled.
                                              Expires a week after its last job has ended.
``…:set-aside``                       any     what a key of another type held: ``check_integrity`` renamed it
``{ns}:ends``                         channel  ids of jobs, told by the scripts when they have ended
``{ns}:probe``                        none    never exists; a push that needs it to exist changes nothing and
                                              tells whether writes are allowed
====================================  ======  ==================================================================

A queue's own keys hold its runner in braces, so that Redis Cluster keeps them together. They are
``{ns}:q:{RUNNER}:`` and one of these; scripts (``queue/lua/``) write all of them, and runners none directly.

================  ======  ======================================================================================
``pending``       zset    ids of jobs that may be taken, scored by priority and age (``next_place``)
``delayed``       zset    ids of jobs that may be taken later, scored by when, in milliseconds
``blocked``       zset    ids of jobs that wait for others, scored by since when
``taken``         zset    the ledger: ids of jobs that were handed out and have not ended, scored by deadline
``held:HOLDER``   zset    those of them that one process has, scored by when it got them
``ping:HOLDER``   hash    the ping in the list of a process of which it is not known whether it executes a job:
                          ``id``, and ``at``, its place among those in ``held``
``jobs``          zset    ids of all jobs that are known, scored by creation in microseconds: the index
``ended``         zset    ids of jobs that have ended, scored by when they are forgotten
``dead``          zset    ids of those that are dead letters, scored by when they became so
``holders``       hash    processes that may take jobs: id, and what is known of it as JSON
``fenced``        zset    processes that may not any more, scored by since when; for a day
``words``         hash    processes, and the word that their calls carry since one was not answered
``beats``         zset    processes, scored by when they last said that they live
``control:HOLDER``  list  what a process is told: ``cancel ID``
``wake``          list    at most one element: there is work for somebody who waits
``settings``      hash    what the queue allows: ``is_paused``, ``max_running``, ``rate``, ``burst``, …
``bucket``        hash    what is left of the rate: ``tokens``, ``at``
``counts``        hash    what has happened since the beginning: ``queued``, ``finished``, ``recovered``, …; how
                          long it took, ``wait:BOUND`` and ``run:BOUND``, and the sums ``wait:ms``, ``run:ms``
``last``          string  the place of the last job, so that none gets the same
``schedules``     hash    recurring schedules: id, and definition as JSON
``schedules-due`` zset    ids of those that have another run, scored by when it is due, in milliseconds
``idem:KEY``      string  id of the job with an idempotency key; expires after a day
================  ======  ======================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """The key names of one namespace."""

    namespace: str

    def job(self, job_id: str) -> str:
        """Return the hash that holds a job."""
        return f"{self.job_prefix}{job_id}"

    @property
    def job_prefix(self) -> str:
        """What the names of all job hashes begin with."""
        return f"{self.namespace}:job:"

    def job_id(self, key: bytes) -> str:
        """Return the id in the name of a job hash; undecodable bytes become U+FFFD, which no id contains."""
        return key.decode(errors="replace").removeprefix(self.job_prefix)

    def is_own(self, name: str) -> bool:
        """Whether a name is that of a key, or of a kind of keys, that is not for lists of ids."""
        words = ("job:", "q:{", "q:reply:", "queues", "group:", "dependents:", "probe")
        return name.startswith(tuple(f"{self.namespace}:{word}" for word in words))

    def work_queue(self, runner_id: str, instance: int = 1) -> str:
        """Return the default list of an instance of a runner that takes ids with BLPOP."""
        return f"{self.work_queue_prefix}{runner_id}" + (f":inst:{instance}" if instance > 1 else "")

    @property
    def work_queue_prefix(self) -> str:
        """What the names of all default lists begin with."""
        return f"{self.namespace}:q:work:type:"

    def reply_queue(self, job_id: str) -> str:
        """Return the list on which a runner may announce the end of a job."""
        return f"{self.namespace}:q:reply:{job_id}"

    def settings(self, runner_id: str) -> str:
        """Return the settings of a queue: the key that scripts are given for all of its keys."""
        return self.queue(runner_id, "settings")

    def queue(self, runner_id: str, what: str) -> str:
        """Return one of the keys of a queue."""
        return f"{self.namespace}:q:{{{runner_id}}}:{what}"

    @property
    def queues(self) -> str:
        """Return the set of the names of all queues."""
        return f"{self.namespace}:queues"

    @property
    def ends(self) -> str:
        """Return the channel on which the ids of jobs are told that have ended."""
        return f"{self.namespace}:ends"

    def group(self, name: str) -> str:
        """Return the counts of a group of jobs."""
        return f"{self.namespace}:group:{name}"

    @property
    def probe(self) -> str:
        """Return the key that never exists."""
        return f"{self.namespace}:probe"
