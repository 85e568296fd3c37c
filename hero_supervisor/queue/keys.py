"""Every Redis key, with its type, content, writer and reader. No other file spells a key.

``{ns}`` is the namespace, ``hero`` by default. Names and types of the first three are the original's.

====================================  ======  ==================================================================
key                                   type    content
====================================  ======  ==================================================================
``{ns}:job:{id}``                     hash    one job (fields: ``queue/records.py``). Written by the supervisor
                                              and by runners, read by anyone. Does not expire.
``{ns}:q:work:type:{runner}``         list    ids of jobs dispatched to a runner, next one on the left. Pushed
                                              on the right by the supervisor, taken from the left by runners. A
                                              runner's definition may name another list.
``{ns}:q:reply:{id}``                 list    one element, the result or error, pushed by runners that use reply
                                              lists; for whoever asked for the job. Expires after an hour.
``{ns}:jobs``                         zset    id of every job that we stored, scored by creation time in
                                              microseconds since the epoch. The index for listing. Written
                                              and read by the supervisor.
``{ns}:probe``                        none    never exists; a push that needs it to exist changes nothing and
                                              tells whether writes are allowed
====================================  ======  ==================================================================
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

    def work_queue(self, runner_id: str) -> str:
        """Return the default queue of a runner."""
        return f"{self.namespace}:q:work:type:{runner_id}"

    def reply_queue(self, job_id: str) -> str:
        """Return the list on which a runner may announce the end of a job."""
        return f"{self.namespace}:q:reply:{job_id}"

    @property
    def job_index(self) -> str:
        """Return the sorted set of all job ids."""
        return f"{self.namespace}:jobs"

    @property
    def probe(self) -> str:
        """Return the key that never exists."""
        return f"{self.namespace}:probe"
