"""The election of the one leader of a namespace: the calls that read and write the Lease.

The rules for candidates are those of client-go (https://pkg.go.dev/k8s.io/client-go/tools/leaderelection). A candidate
uses only its own clock. For it a Lease has expired when it has not seen the Lease change for the duration that the
Lease states. Clocks decide only how soon the next leader begins. The intent in the Lease, and no clock, prevents two
runs from getting the same slot (docs/adr/0005-intent-in-the-lease.md).
"""

import logging
import secrets
from collections.abc import Callable, Mapping

from app.common.outage_logger import OutageLogger
from app.common.types import Json
from app.dispatcher.admissions import Admissions
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.intent import Intent
from app.dispatcher.lease import LeaseTiming, SeenLease, build_lease, build_released_lease, read_lease, read_renew_time
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import AlreadyExistsError, ClusterError, ConflictError, NotFoundError, UnavailableError
from app.telemetry import metrics

log = logging.getLogger(__name__)

_LAST_RETRY_SECONDS = 10.0
"""The longest pause of a candidate whose calls are refused again and again."""


class Election:
    """Takes the Lease, renews it and releases it for one dispatcher. Used by one thread.

    Args:
        client: the client of the namespace that the Lease is in.
        admissions: chooses the runs for the intent.
        signal: its lock guards `admissions`.
        timing: see `LeaseTiming`.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        client: NamespacedClient,
        admissions: Admissions,
        signal: ChangeSignal,
        timing: LeaseTiming,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._admissions = admissions
        self._lock = signal.lock
        self._timing = timing
        self._clock = clock
        self._lease: Json | None = None  # as last read or written
        self._changed_at = 0.0  # when this candidate first saw `_lease` as it is
        self._began_at: dict[int, float] = {}  # by sequence number, when each unanswered write was begun
        self._held_until = 0.0
        self._next_at = 0.0
        self._failures = 0  # in a row
        self._is_failing = False
        self._has_conflicted = False  # the last write of the Lease
        self._outage = OutageLogger(log, "the dispatcher's lease can't be read or written", clock)
        self._leader: str | None = None  # as last logged
        self._predecessor_renewed_at: int | None = None

    # Whether it leads.

    def is_leading(self) -> bool:
        """Whether this dispatcher holds the Lease and its duration is not over by its own clock."""
        return self._admissions.term is not None and self._clock() < self._held_until

    def seconds_until_due(self) -> float:
        """How long until the Lease must be read or renewed."""
        return max(0.0, self._next_at - self._clock())

    @property
    def predecessor_renewed_at(self) -> int | None:
        """When the Lease was last written before the current term began, microseconds since the epoch; `None`: never.

        By the clock of the holder then.
        """
        return self._predecessor_renewed_at

    def resign(self) -> None:
        """Stop leading at once, without a call: the Lease expires by itself."""
        with self._lock:
            self._admissions.end_term()
        self._log_leader()

    # Standing for election.

    def stand(self) -> bool:
        """Take the Lease if it is free; returns whether a term has begun."""
        try:
            self._look()
            if self._admissions.term is not None and not self.is_leading():
                # An own write was answered, or found, after its duration was over. A new write must begin the term.
                self.resign()
            stored = True
            if self._admissions.term is None and self._is_free():
                with self._lock:
                    leadership, intent = self._admissions.leadership.prepare_take()
                    self._admissions.leadership = leadership
                self._predecessor_renewed_at = None if self._lease is None else read_renew_time(self._lease)
                stored = self._write(intent, build_lease(self._lease, intent, self._timing.lease_seconds))
            self._succeeded(stored=stored)
        except ClusterError as error:
            self._failed(error)
        self._log_leader()
        return self.is_leading()

    def _is_free(self) -> bool:
        identity = self._admissions.leadership.claim.identity
        lease = self._seen()
        return lease is None or lease.holder in ("", identity) or self._clock() > self._changed_at + lease.seconds

    def _seen(self) -> SeenLease | None:
        return None if self._lease is None else read_lease(self._lease)

    # Keeping the Lease.

    def renew(self, slots: Mapping[str, int]) -> None:
        """Renew the Lease, and write into it the runs that are to be admitted next."""
        try:
            if self._admissions.leadership.claim.unanswered_writes:
                self._look()
            stored = True
            if self._admissions.term is not None:
                with self._lock:
                    intent = self._admissions.prepare_renewal(slots)
                stored = self._write(intent, build_lease(self._lease, intent, self._timing.lease_seconds))
                if stored:
                    _count("renewed")
            self._succeeded(stored=stored)
        except ClusterError as error:
            self._failed(error)
        self._log_leader()

    def release(self) -> None:
        """Release the Lease, with the admissions that may still arrive."""
        try:
            if self._admissions.leadership.claim.unanswered_writes:
                self._look()
            if self._admissions.term is None or self._lease is None:
                return
            with self._lock:
                intent = self._admissions.prepare_release()
            self._client.replace_lease(build_released_lease(self._lease, intent))
            _count("released")
            log.info("released the lease as %s", intent.holder)
            self._leader = None
        except ClusterError as error:
            log.warning(
                "the dispatcher's lease could not be released; the next dispatcher waits until it expires: %s", error
            )

    # The calls.

    def _look(self) -> None:
        """Read the Lease. Its duration starts again only if it has changed."""
        try:
            lease = self._client.get_lease(labels.LEASE_NAME)
        except NotFoundError:
            if self._admissions.term is None and not self._is_free():
                return  # someone deleted the Lease; its holder leads until it notices
            lease = None
        if _version(lease) != _version(self._lease):
            self._changed_at = self._clock()
        seen = None if lease is None else read_lease(lease)
        with self._lock:
            before = self._admissions.leadership
            self._lease = lease
            self._admissions.leadership = after = before.look(seen)
            if (
                after.claim.held
                and seen is not None
                and seen.version != (before.claim.base and before.claim.base.version)
            ):
                assert seen.intent is not None
                self._hold(self._began_at[seen.intent.sequence])  # a write whose answer was lost
            elif before.term is not None and after.term is None:
                self._admissions.end_term()

    def _write(self, intent: Intent, lease: Json) -> bool:
        """Write the prepared Lease; return whether it was stored. `False`: another client has changed the Lease.

        Raises:
            ClusterError: the Lease was not stored, or the outcome is unknown.
        """
        began = self._clock()
        self._began_at[intent.sequence] = began
        try:
            write = self._client.create_lease if self._lease is None else self._client.replace_lease
            stored = write(lease)
            if read_lease(stored).intent != intent:
                raise UnavailableError("the Lease was not stored as written; a webhook or policy may change it")
        except (AlreadyExistsError, ConflictError, NotFoundError):
            with self._lock:
                self._admissions.leadership = self._admissions.leadership.conflicts()
                if self._admissions.term is None:
                    self._admissions.end_term()
            return False
        except ClusterError as error:
            with self._lock:
                if error.outcome_unknown:
                    self._admissions.leadership = self._admissions.leadership.lost_answer()
                else:
                    self._admissions.leadership = self._admissions.leadership._replace(proposed=())
            raise
        with self._lock:
            self._lease = stored
            self._changed_at = began
            self._hold(began)
            self._admissions.leadership = self._admissions.leadership.stored(read_lease(stored))
        self._has_conflicted = False
        return True

    def _hold(self, began: float) -> None:
        self._held_until = began + self._timing.lease_seconds
        self._began_at.clear()

    def is_backing_off(self) -> bool:
        """Whether the last write of the Lease failed, and the next one is not due yet."""
        return self._is_failing and self.seconds_until_due() > 0

    def _succeeded(self, *, stored: bool) -> None:
        self._outage.recovered()
        self._failures, self._is_failing = 0, False
        timing = self._timing
        if not stored:
            # Another client wrote the Lease: read it at once. If every write conflicts, pause between the calls.
            self._is_failing = self._has_conflicted
            self._pause(timing.retry_seconds if self._has_conflicted else 0)
            self._has_conflicted = True
            return
        pause_seconds = timing.renew_seconds if self.is_leading() else timing.retry_seconds
        self._pause(pause_seconds)

    def _failed(self, error: ClusterError) -> None:
        _count("failed")
        self._outage.failed(error)
        self._is_failing = True
        if self.is_leading():
            self._pause(self._timing.retry_seconds)
            return
        self._failures = 0 if error.retryable else self._failures + 1
        pause_seconds = min(self._timing.retry_seconds * 2 ** min(self._failures, 10), _LAST_RETRY_SECONDS)
        self._pause(pause_seconds, at_least=error.retry_after_seconds or 0)

    def _pause(self, seconds: float, *, at_least: float = 0.0) -> None:
        """Set when the Lease is read or renewed next. A candidate also reads it at the moment when it expires."""
        seconds *= secrets.SystemRandom().uniform(0.9, 1.0)
        lease = self._seen()
        if not self.is_leading() and lease is not None and lease.holder:
            expires_in_seconds = self._changed_at + lease.seconds - self._clock()
            if 0 < expires_in_seconds < seconds:
                seconds = expires_in_seconds + 0.01
        self._next_at = self._clock() + max(seconds, at_least)

    def _log_leader(self) -> None:
        """Log which dispatcher leads, if that has changed since the last line."""
        identity = self._admissions.leadership.claim.identity
        seen = self._seen()
        leader = identity if self.is_leading() else (seen and seen.holder) or None
        if leader == identity and not self.is_leading():
            leader = None  # released or expired
        if leader == self._leader:
            return
        if leader == identity:
            log.info("leading as %s", leader)
            _count("gained")
        elif self._leader == identity:
            log.warning("no longer leading as %s", identity)
            _count("lost")
        if leader not in (None, identity):
            log.info("following %s", leader)
        self._leader = leader


def _version(lease: Json | None) -> str | None:
    return None if lease is None else str(lease["metadata"]["resourceVersion"])


def _count(event: str) -> None:
    metrics.LEASE_EVENTS.labels(event).inc()
