"""Who may want the dispatcher's Lease: the service's `Election`, and the client's `LeaderElection` over a `LeaseLock`.

Both have the lease last equally long.
"""

import threading
import time
from typing import Any, Protocol

from kubernetes.client import Configuration

from app.dispatcher.admissions import Admissions
from app.dispatcher.election import Election
from app.dispatcher.lease import LeaseTiming
from app.dispatcher.run_store import ChangeSignal
from app.dispatcher.start_latency import StartLatency
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.transport import CALL_SECONDS
from benchmarks.target import open_namespace

TIMING = LeaseTiming()
_RENEW_DEADLINE_SECONDS = 10
_CLIENT_RETRY_SECONDS = 2  # these two are client-go's own defaults


class Candidate(Protocol):
    """Somebody who wants the lease.

    Attributes:
        call_seconds: how long a call that it has begun may still be under way; 0 where it has no end of its own.
    """

    call_seconds: float

    def start(self) -> None:
        """Begin to try."""

    def may_act(self) -> bool:
        """Whether it believes, as far as it can say, that it may do now what only the holder may."""

    def ended(self) -> str:
        """Why its thread has ended, empty while it goes on."""

    def stop(self) -> None:
        """Give up as cleanly as it can."""


class Own:
    """The service's."""

    call_seconds = CALL_SECONDS

    def __init__(self, namespace: NamespacedClient, identity: str) -> None:
        signal = ChangeSignal()
        latency = StartLatency(time.monotonic)
        self._admissions = Admissions(identity, signal, time.monotonic, time.time, latency, lambda *_: None)
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
        """As the dispatcher asks before every write."""
        return self._election.is_leading()

    def ended(self) -> str:
        """Whether its thread has ended."""
        return "" if self._thread.is_alive() else "ended"

    def stop(self) -> None:
        """Stop and give back."""
        self._stop.set()
        self._thread.join()
        if self._election.is_leading():
            self._election.release()


class Client:
    """The client's. It may act from the one callback to the other: there is nothing else to ask."""

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
        """Between its callbacks."""
        return self._acts.is_set() and not self._told_to_stop.is_set()

    def ended(self) -> str:
        """What `run` raised, or that it returned."""
        return "" if self._thread.is_alive() else self._error or "ended"

    def stop(self) -> None:
        """There is no way to ask for it."""

    def _lead(self) -> None:
        self._acts.set()
        self._told_to_stop.wait()

    def _run(self) -> None:
        try:
            self._election.run()
        except Exception as error:  # whatever comes out of it is what is measured
            self._error = type(error).__name__


def make_candidate(who: str, configuration: Configuration, name: str, identity: str) -> Candidate:
    """A candidate for the dispatcher's Lease in a namespace.

    Args:
        who: `own` or `client`.
        configuration: how it reaches the API server.
        name: of the namespace.
        identity: of the candidate.
    """
    if who == "own":
        return Own(open_namespace(configuration, name), identity)
    return Client(configuration, name, identity)
