"""The kinds of faults that the suite injects."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """A kind of fault; the values are its names in the report."""

    KILL_LEADER = "kill -9 of all processes of the leader"
    KILL_MASTER = "kill -9 of a gunicorn master"
    KILL_WORKER = "kill -9 of a gunicorn worker"
    KILL_DISPATCHER = "kill -9 of the stand-alone dispatcher"

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

    STOP_API_SERVER = "API server stopped and started"
    KILL_API_SERVER = "kill -9 of the API server"
    PAUSE_ETCD = "etcd paused (SIGSTOP)"

    BECOME_READY = "a dependency becomes ready for the first time"
    BECOME_UNREADY = "a dependency becomes unready"
    BECOME_READY_AGAIN = "a dependency becomes ready again"


KILLS = (Kind.KILL_LEADER, Kind.KILL_MASTER, Kind.KILL_WORKER, Kind.KILL_DISPATCHER)
HANDOVERS = (Kind.FREEZE_LEADER, Kind.STOP_REPLICA)
LINKS = tuple(kind for kind in Kind if kind.name.startswith(("CUT", "SILENT", "LOST")))
OUTAGES = (Kind.STOP_API_SERVER, Kind.KILL_API_SERVER, Kind.PAUSE_ETCD)
READINESS_CHANGES = (Kind.BECOME_READY, Kind.BECOME_UNREADY, Kind.BECOME_READY_AGAIN)
IN_TURN = (OUTAGES, READINESS_CHANGES)
"""Kinds that never overlap within their group. All others are injected at their time and may overlap."""
