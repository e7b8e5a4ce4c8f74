"""The kinds of faults that the suite injects."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """A kind of fault; the values are its names in the report."""

    KILL_LEADER = "kill -9 of all processes of the leader"
    KILL_MASTER = "kill -9 of a gunicorn master"
    KILL_WORKER = "kill -9 of a gunicorn worker"
    KILL_DISPATCHER = "kill -9 of the stand-alone dispatcher"

    FREEZE_INTENT = "the leader paused (SIGSTOP) between an intent and its patches, until another leads"
    FREEZE_LEADER = "all processes of the leader paused (SIGSTOP) for longer than its lease"
    STOP_REPLICA = "a replica stopped and started as by a rollout"

    CUT_ALL = "every connection of a process cut"
    CUT_WATCHES = "every watch of a process cut"
    SILENT_ALL = "every connection of a process half-open"
    SILENT_WATCHES = "every watch of a process half-open"
    SILENT_CREATE = "half-open before a create is forwarded"
    SILENT_STORED = "half-open after a create was stored"
    SILENT_ADMIT = "half-open before an admission is forwarded"
    SILENT_ADMITTED = "half-open after an admission was stored"
    LOST_STORED = "connection cut after a create was stored"
    LOST_ADMITTED = "connection cut after an admission was stored"

    HANG_ADMISSIONS = "every admission of a definition held back, and forwarded after its writer has given up"

    STOP_API_SERVER = "API server stopped and started"
    KILL_API_SERVER = "kill -9 of the API server"
    PAUSE_ETCD = "etcd paused (SIGSTOP)"
    RESTORE_ETCD = "etcd restored from a snapshot of some seconds ago"

    LEASE_GARBAGE = "the Lease's intent replaced by garbage"
    LEASE_OLD_INTENT = "the Lease's intent replaced by an older one"
    LEASE_DELETED = "the Lease deleted"
    LEASE_TRANSITIONS = "the Lease's leaseTransitions set to the highest int32"
    LEASE_NOBODY = "the Lease's holder replaced by nobody's name"

    BECOME_READY = "a dependency becomes ready for the first time"
    BECOME_UNREADY = "a dependency becomes unready"
    BECOME_READY_AGAIN = "a dependency becomes ready again"


KILLS = (Kind.KILL_LEADER, Kind.KILL_MASTER, Kind.KILL_WORKER, Kind.KILL_DISPATCHER)
HANDOVERS = (Kind.FREEZE_INTENT, Kind.STOP_REPLICA, Kind.FREEZE_LEADER)
LINKS = tuple(kind for kind in Kind if kind.name.startswith(("CUT", "SILENT", "LOST")))
HANGS = (Kind.HANG_ADMISSIONS,)
OUTAGES = (Kind.STOP_API_SERVER, Kind.KILL_API_SERVER, Kind.PAUSE_ETCD, Kind.RESTORE_ETCD)
LEASE_EDITS = tuple(kind for kind in Kind if kind.name.startswith("LEASE"))
READINESS_CHANGES = (Kind.BECOME_READY, Kind.BECOME_UNREADY, Kind.BECOME_READY_AGAIN)
IN_TURN = (OUTAGES, LEASE_EDITS, READINESS_CHANGES)
"""Kinds that never overlap within their group. All others are injected at their time and may overlap."""
