"""Measure how a Lease's holder handles calls that hang or fail: `python -m benchmarks.lease_faults SCENARIO WHO …`.

WHO is `own` (the service's `Election`) or `client` (the client's `LeaderElection` with its `LeaseLock`). Both use a
lease of 15 s. Of the two candidates, `first` reaches the API server through a fault proxy, `second` directly.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
import time

from kubernetes.client import Configuration

from app.kube import labels
from benchmarks.lease_candidates import TIMING, Candidate, make_candidate
from benchmarks.target import open_namespace, open_proxy, read_configuration, report, wait_until
from tests.support.faults import Fault, FaultProxy, LoseResponse

OUTAGE_SECONDS = 5.0
_TIMEOUT_SECONDS = 2.0 * TIMING.lease_seconds
_LEASE_PATH = f"/leases/{labels.LEASE_NAME}$"


class _Recorder:
    """Records continuously which of two candidates believes to be the leader."""

    def __init__(self, first: Candidate, second: Candidate) -> None:
        self.first_last = self.second_first = 0.0
        self.both_seconds = 0.0
        self._first, self._second = first, second
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        before = time.monotonic()
        while True:
            now = time.monotonic()
            first, second = self._first.may_act(), self._second.may_act()
            if first:
                self.first_last = now
            if second and not self.second_first:
                self.second_first = now
            if first and second:
                self.both_seconds += now - before
            before = now
            time.sleep(0.01)


class Trial:
    """Two candidates for one Lease, the first of them behind a fault proxy."""

    def __init__(self, who: str, proxy: FaultProxy, proxied: Configuration, direct: Configuration, name: str) -> None:
        self.proxy = proxy
        self.namespace = open_namespace(direct, name)
        self.first = make_candidate(who, proxied, name, "first")
        self.second = make_candidate(who, direct, name, "second")

    def hang(self, observe_seconds: float) -> dict[str, object]:
        """Make every call of the holder hang, as behind a dead router, with another candidate running."""
        self._lead()
        recorder = _Recorder(self.first, self.second)
        self.second.start()
        time.sleep(2 * TIMING.renew_seconds)
        self.proxy.silence()
        began = time.monotonic()
        time.sleep(observe_seconds)
        if not recorder.second_first:
            raise TimeoutError("the second candidate did not take over")
        acts_end = recorder.first_last + self.first.call_seconds
        return {
            "taken_over_seconds": recorder.second_first - began,
            "both_seconds": recorder.both_seconds,
            "acting_at_the_end": self.first.may_act(),
            "idle_between_seconds": max(0.0, recorder.second_first - acts_end),
        }

    def create(self) -> dict[str, object]:
        """Lose the response to the create."""
        lost = self.proxy.add(Fault(LoseResponse(), method="POST", path="/leases$"))
        self.first.start()
        lead = wait_until(self.first.may_act, _TIMEOUT_SECONDS)
        assert self.proxy.hits(lost) == 1
        return {"create_seconds": lead, "create_ended": self.first.ended()}

    def renewals(self) -> dict[str, object]:
        """Lose the response to a renewal; later refuse connections for a while."""
        self._lead()
        lost = self.proxy.add(Fault(LoseResponse(), method="PUT", path=_LEASE_PATH))
        assert wait_until(lambda: self.proxy.hits(lost) == 1, _TIMEOUT_SECONDS) is not None
        figures: dict[str, object] = {"renewal_seconds": self._renewed(), "renewal_ended": self.first.ended()}
        self.proxy.refuse_connections()
        self.proxy.cut_all()
        time.sleep(OUTAGE_SECONDS)
        self.proxy.heal()
        figures["outage_seconds"] = self._renewed()
        figures["outage_ended"] = self.first.ended()
        figures["outage_still_acts"] = bool(self.first.ended()) and self.first.may_act()
        return figures

    def _lead(self) -> None:
        self.first.start()
        if wait_until(self.first.may_act, _TIMEOUT_SECONDS) is None:
            raise TimeoutError("no candidate leads although the API server is healthy")

    def _renewed(self) -> float | None:
        """Return the seconds until the Lease is written again."""
        version = self._version()
        return wait_until(lambda: self._version() != version, _TIMEOUT_SECONDS, pause_seconds=0.1)

    def _version(self) -> str:
        return str(self.namespace.get_lease(labels.LEASE_NAME)["metadata"]["resourceVersion"])


def hand_over(who: str, given: argparse.Namespace, direct: Configuration) -> dict[str, object]:
    """Stop the holder's process with SIGTERM, and measure the time until another candidate leads."""
    command = [sys.executable, "-m", "benchmarks.lease_faults", "candidate", who]
    command += ["--kubeconfig", given.kubeconfig, "--namespace", given.namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "leading\n"
            second = make_candidate(who, direct, given.namespace, "second")
            second.start()
            time.sleep(2.0)  # until it has seen the Lease's holder
            holder.send_signal(signal.SIGTERM)
            return {"hand_over_seconds": wait_until(second.may_act, _TIMEOUT_SECONDS)}
        finally:
            holder.kill()


def stand(who: str, direct: Configuration, name: str) -> None:
    """Compete for the Lease until SIGTERM, then stop as cleanly as possible."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    candidate = make_candidate(who, direct, name, "first")
    candidate.start()
    wait_until(candidate.may_act, _TIMEOUT_SECONDS)
    print("leading", flush=True)
    stop.wait()
    candidate.stop()


def main() -> None:
    """Run one scenario with one kind of candidate."""
    parser = argparse.ArgumentParser(description="Faults of a lease.")
    parser.add_argument("scenario", choices=["hang", "create", "renewals", "stop", "candidate"])
    parser.add_argument("who", choices=["own", "client"])
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--observe-seconds", type=float, default=0.0)
    given = parser.parse_args()
    logging.disable()
    direct = read_configuration(given.kubeconfig)
    if given.scenario == "candidate":
        stand(given.who, direct, given.namespace)
    elif given.scenario == "stop":
        report(**hand_over(given.who, given, direct))
    else:
        with open_proxy(direct) as (proxy, proxied):
            trial = Trial(given.who, proxy, proxied, direct, given.namespace)
            match given.scenario:
                case "hang":
                    report(**trial.hang(given.observe_seconds))
                case "create":
                    report(**trial.create())
                case _:
                    report(**trial.renewals())
    os._exit(0)  # hanging threads must not keep the process alive


if __name__ == "__main__":
    main()
