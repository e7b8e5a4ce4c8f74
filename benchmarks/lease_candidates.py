"""Candidates for the Lease: the service's `Election`, and the client's `LeaderElection` with a `LeaseLock`.

Both use the same lease duration.
"""

import threading
import time
from typing import Any, Protocol

from kubernetes.client import Configuration

from app.dispatcher.admissions import Admissions
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.election import Election
from app.dispatcher.lease import LeaseTiming
from app.dispatcher.run_ends import RunEnds
from app.dispatcher.start_latency import StartLatency
from app.kube import labels
from app.kube.call_timeouts import CALL_SECONDS
from app.kube.client import NamespacedClient
from benchmarks.target import open_namespace

TIMING = LeaseTiming()
_RENEW_DEADLINE_SECONDS = 10
_CLIENT_RETRY_SECONDS = 2  # these two are client-go's own defaults


class Candidate(Protocol):
    """A candidate for the Lease.

    Attributes:
        call_seconds: how long a call may still be in flight after the end of leadership; 0 if calls have no deadline.
    """

    call_seconds: float

    def start(self) -> None:
        """Start to compete for the Lease."""

    def may_act(self) -> bool:
        """Return whether it believes to be the leader."""

    def ended(self) -> str:
        """Return why its thread has ended; empty while it runs."""

    def stop(self) -> None:
        """Stop as cleanly as possible."""


class Own:
    """The service's election."""

    call_seconds = CALL_SECONDS

    def __init__(self, namespace: NamespacedClient, identity: str) -> None:
        signal = ChangeSignal()
        latency = StartLatency(time.monotonic)
        ends = RunEnds(time.time, lambda _end: None)
        self._admissions = Admissions(identity, signal, time.monotonic, time.time, latency, ends, lambda *_: None)
        self._election = Election(namespace, self._admissions, signal, TIMING, time.monotonic)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)

    def _hold(self) -> None:
        while not self._stop.wait(self._election.seconds_until_due()):
            if self._election.is_leading():
                self._election.renew({})
            else:
                self._election.resign()
                self._election.stand()

    def start(self) -> None:
        """Start its thread."""
        self._thread.start()

    def may_act(self) -> bool:
        """Return what the dispatcher checks before every write."""
        return self._election.is_leading()

    def ended(self) -> str:
        """Return `ended` if its thread has ended."""
        return "" if self._thread.is_alive() else "ended"

    def stop(self) -> None:
        """Stop, and release the Lease."""
        self._stop.set()
        self._thread.join()
        if self._election.is_leading():
            self._election.release()


class Client:
    """The client's election. It leads from the one callback to the other, because it has no other query."""

    call_seconds = 0.0

    def __init__(self, configuration: Configuration, namespace: str, identity: str) -> None:
        from kubernetes.client import ApiClient, CoordinationV1Api
        from kubernetes.leaderelection import electionconfig, leaderelection
        from kubernetes.leaderelection.resourcelock import leaselock

        # The client has no annotations here.
        make_lock: Any = leaselock.LeaseLock
        make_config: Any = electionconfig.Config
        make_election: Any = leaderelection.LeaderElection

        self._acts = threading.Event()
        self._told_to_stop = threading.Event()
        self._error = ""
        lock: Any = make_lock(labels.LEASE_NAME, namespace, identity)
        lock.api_instance = CoordinationV1Api(ApiClient(configuration))
        self._election: Any = make_election(
            make_config(
                lock,
                lease_duration=TIMING.lease_seconds,
                renew_deadline=_RENEW_DEADLINE_SECONDS,
                retry_period=_CLIENT_RETRY_SECONDS,
                onstarted_leading=self._lead,
                onstopped_leading=self._told_to_stop.set,
            )
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start its thread."""
        self._thread.start()

    def may_act(self) -> bool:
        """Return whether it is between its callbacks."""
        return self._acts.is_set() and not self._told_to_stop.is_set()

    def ended(self) -> str:
        """Return the exception that `run` raised, or `ended` if it returned."""
        return "" if self._thread.is_alive() else self._error or "ended"

    def stop(self) -> None:
        """Do nothing: the client has no way to stop."""

    def _lead(self) -> None:
        self._acts.set()
        self._told_to_stop.wait()

    def _run(self) -> None:
        try:
            self._election.run()
        except Exception as error:  # the exception is part of the result
            self._error = type(error).__name__


def make_candidate(who: str, configuration: Configuration, name: str, identity: str) -> Candidate:
    """Create a candidate for the dispatcher's Lease in a namespace.

    Args:
        who: `own` or `client`.
        configuration: the client configuration for the API server.
        name: the namespace.
        identity: the candidate's identity.
    """
    if who == "own":
        return Own(open_namespace(configuration, name), identity)
    return Client(configuration, name, identity)
