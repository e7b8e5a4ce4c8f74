"""The writers: threads that make the calls for runs, one each at a time."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from app.common.heartbeat import Heartbeat
from app.common.types import Json
from app.dispatcher.admissions import Admissions
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.write import PROMPT_WRITERS, SLOW_WRITERS, Purpose, Write
from app.domain.run import Phase, Run
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, NotFoundError, UnavailableError
from app.kube.manifests import build_admission, build_fence
from app.kube.parsing import is_run, read_run
from app.telemetry import metrics, spans
from app.telemetry.trace_context import read_trace_context

log = logging.getLogger(__name__)


class Writers:
    """Makes the writes that `Admissions` chooses.

    Args:
        client: the client of the namespace.
        admissions: chooses the writes and records their results.
        signal: its lock guards `admissions`.
        slots: how many runs of each definition may be active.
        may_write: asked under the lock before a write is taken.
        heartbeat: beats around every call.
    """

    def __init__(
        self,
        client: NamespacedClient,
        admissions: Admissions,
        signal: ChangeSignal,
        slots: Callable[[], Mapping[str, int]],
        may_write: Callable[[], bool],
        heartbeat: Heartbeat,
    ) -> None:
        self._client = client
        self._admissions = admissions
        self._signal = signal
        self._slots = slots
        self._may_write = may_write
        self._heartbeat = heartbeat
        self._work = threading.Condition(signal.lock)
        self._stopped = False
        self.threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads, unless they are there."""
        if not self.threads:
            for number in range(PROMPT_WRITERS + SLOW_WRITERS):
                name = f"writer-{number}"
                thread = threading.Thread(target=self._run, args=(name,), name=name, daemon=True)
                thread.start()
                self.threads.append(thread)

    def wake(self) -> None:
        """Wake one waiting writer. If it finds a write, it wakes the next writer."""
        with self._work:
            self._work.notify()

    def stop(self) -> None:
        """Ask each thread to end after its current call; returns at once."""
        with self._work:
            self._stopped = True
            self._work.notify_all()

    def _run(self, name: str) -> None:
        while (write := self._take(name)) is not None:
            answer: Run | ClusterError
            try:
                answer = carry_out(self._client, write, partial(self._check_waiting, write))
            except ClusterError as error:
                answer = error
            except Exception:
                log.exception("the write for run %s failed", write.name)
                answer = UnavailableError("the write failed in this process")
            with self._work:
                self._admissions.ended(write, answer)
                self._signal.notify()

    def _check_waiting(self, write: Write) -> None:
        with self._signal.lock:
            if self._admissions.is_given_up(write):
                raise UnavailableError(
                    "the API server is slow to answer this write, and another definition needs the writer"
                )

    def _take(self, name: str) -> Write | None:
        """Wait for a write; `None`: the thread must end."""
        with self._work:
            self._heartbeat.rest(name)
            while not self._stopped:
                write = self._admissions.take_write(self._slots()) if self._may_write() else None
                if write is not None:
                    self._heartbeat.beat(name)
                    self._work.notify()
                    return write
                self._work.wait()
        return None


def carry_out(client: NamespacedClient, write: Write, ask: Callable[[], None] | None = None) -> Run:
    """Make the call of a write; return the run after it.

    Args:
        client: the client of the namespace.
        write: the write.
        ask: called again and again while the API server is silent. An exception from it ends the call.

    Raises:
        ClusterError: see `Admissions.ended`.
    """
    version = write.pin.version
    match write.purpose:
        case Purpose.READ:
            job = client.get_job(write.name, ask=ask)
            if job["metadata"]["uid"] != write.pin.uid or not is_run(job):
                raise NotFoundError("another Job has its name; the watch will show it")
        case Purpose.FENCE:
            job = client.patch_job(write.name, build_fence(version, mark=secrets.token_hex(4)), ask=ask)
        case Purpose.ADMIT:
            began = time.monotonic()
            job = client.patch_job(write.name, build_admission(version, gates_left=write.gates_left), ask=ask)
            run = read_run(job)
            if run.phase is Phase.ADMITTED:
                _record_admission(run, job, write_seconds=time.monotonic() - began)
            return run
    return read_run(job)


def _record_admission(run: Run, job: Json, *, write_seconds: float) -> None:
    """Record in metrics and traces that a run was admitted."""
    seconds = max(
        0.0, time.time() - run.queued_at / 1_000_000
    )  # two clocks are involved if another replica queued the run
    metrics.QUEUED_SECONDS.labels(run.definition).observe(seconds)
    trace = read_trace_context((job["metadata"].get("annotations") or {}).get(labels.TRACEPARENT_ANNOTATION), None)
    attributes: dict[str, str | int] = {
        "slimfaas.definition": run.definition,
        "slimfaas.run": run.name,
        "slimfaas.queued_ms": int(seconds * 1000),
    }
    spans.record_span("admit", seconds=write_seconds, parent=trace, attributes=attributes)
