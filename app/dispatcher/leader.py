"""Being the one dispatcher of a namespace: a Lease, as Kubernetes' own controllers use it.

The rules are client-go's (https://pkg.go.dev/k8s.io/client-go/tools/leaderelection): a candidate trusts its own clock
only, and counts a lease as expired when it has not seen it change for as long as the lease says. On top of them the
holder knows for how long it *certainly* holds it, and acts only within that time
(docs/adr/0003-own-reflector-and-lease.md).
"""

import logging
import random
import threading
from collections.abc import Callable

from app.common.outage_logger import OutageLogger
from app.common.types import Json
from app.dispatcher.lease import LeaseTiming, build_given_back, build_taken, read_holder, read_seconds
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import AlreadyExistsError, ClusterError, ConflictError, NotFoundError
from app.telemetry import metrics

log = logging.getLogger(__name__)


_LAST_RETRY_SECONDS = 10.0
"""How seldom a candidate asks at the least, where it is refused again and again."""


class Leader:
    """A candidate for the dispatcher's Lease, and its holder for as long as that goes well.

    Args:
        client: where the Lease is.
        timing: see `LeaseTiming`.
        clock: seconds that never go back.
        on_gain: called when the lease has become ours.
        on_try: called before every look at the lease, and after.
        is_healthy: whether what acts in the lease's name does; where it doesn't, the lease is left to others.

    Attributes:
        term: a number of its own for each time that the lease became ours: what was known in an earlier term may be
            out of date.
        took_over: the lease was taken from another holder that had fallen silent, so that a write of that holder may
            still arrive. For the reader to unset, once that is taken care of.
    """

    def __init__(
        self,
        client: NamespacedClient,
        timing: LeaseTiming,
        *,
        clock: Callable[[], float],
        on_gain: Callable[[], None],
        on_try: Callable[[], None] = lambda: None,
        is_healthy: Callable[[], bool] = lambda: True,
    ) -> None:
        self._identity = ""
        self._client = client
        self._timing = timing
        self._clock = clock
        self._on_gain = on_gain
        self._on_try = on_try
        self._is_healthy = is_healthy
        self._refusals = 0  # in a row
        self._released = False
        self._lease: Json | None = None  # as last read or written
        self._seen_at = 0.0  # when `_lease` was first seen as it is
        self._held_until = 0.0  # by our clock, counted from before the renewal was sent
        self._lock = threading.Lock()
        self._outage = OutageLogger(log, "the dispatcher's lease can't be read or written", clock)
        self._leader: str | None = None  # as last told
        self.term = 0
        self.took_over = False

    @property
    def leading(self) -> bool:
        """Whether the lease is certainly ours."""
        return self._clock() < self._held_until

    @property
    def may_write(self) -> bool:
        """Whether the lease is certainly ours for as long as a write can take."""
        return self._clock() + self._timing.margin_seconds < self._held_until

    def hold(self, identity: str, stop: threading.Event) -> None:
        """Wait for the lease, then keep it, until `stop` is set. Runs in a thread of its own.

        Args:
            identity: unlike any other candidate's, also those of earlier processes in the same pod.
            stop: to be set by others.
        """
        self._identity = identity
        while not stop.is_set():
            held, asked_seconds = False, 0
            self._on_try()
            try:
                held = self._is_healthy() and self._try_to_hold()
                self._outage.recovered()
                self._refusals = 0
            except ClusterError as error:
                _count("failed")
                self._outage.failed(error)
                asked_seconds = error.retry_after_seconds or 0
                self._refusals = 0 if error.retryable else self._refusals + 1
            except Exception:
                # Whatever it was: without this thread nobody in this process would lead ever again.
                log.exception("the dispatcher's lease could not be read or written")
            self._tell()
            self._on_try()
            stop.wait(self._pause_seconds(held, asked_seconds))

    def release(self) -> None:
        """Give the lease back for good, so that another candidate need not wait for it to expire."""
        with self._lock:
            self._released, self._held_until = True, 0.0
            if not self.term:
                return
            try:
                self._look()  # the answer to the last renewal may have been lost
                if self._lease is not None and self._holder() == self._identity:
                    self._client.replace_lease(build_given_back(self._lease))
                    _count("released")
            except ClusterError as error:
                log.warning("the dispatcher's lease could not be given back, others wait for its end: %s", error)

    def _pause_seconds(self, held: bool, asked_seconds: int) -> float:
        """How long to wait before the next try; the API server has asked for so many seconds."""
        timing = self._timing
        if held:
            pause_seconds = timing.renew_seconds
        elif self.leading:  # what it has would run out
            pause_seconds, asked_seconds = timing.retry_seconds, 0
        else:
            pause_seconds = min(timing.retry_seconds * 2 ** min(self._refusals, 10), _LAST_RETRY_SECONDS)
        pause_seconds *= random.uniform(0.9, 1.0)  # noqa: S311 - jitter, nothing secret
        # A candidate looks again at the very moment when a silent holder's time is up.
        expires_in_seconds = self._expires_at() - self._clock()
        if not held and 0 < expires_in_seconds < pause_seconds:
            pause_seconds = expires_in_seconds + 0.01
        return max(pause_seconds, asked_seconds)

    def _try_to_hold(self) -> bool:
        with self._lock:
            if self._released:
                return False
            if self.leading:
                return self._take()
            deleted_from = self._holder()
            self._look()
            if not self._is_free():
                return False
            self.term += 1  # this and the next before `leading` says so
            last_holder = self._holder() if self._lease is not None else deleted_from
            self.took_over |= last_holder not in (None, "", self._identity)
            gained = self._take()
        if gained:
            self._tell()
            self._on_gain()
        return gained

    def _tell(self) -> None:
        """Say who leads, when that has changed as far as this candidate knows."""
        leader = self._identity if self.leading else self._holder()
        if leader == "" or (leader == self._identity and not self.leading):
            leader = None  # given back, or run out
        if leader == self._leader:
            return
        if leader == self._identity:
            log.info("leading as %s", leader)
            _count("gained")
        elif self._leader == self._identity:
            log.warning("no longer leading as %s", self._identity)
            _count("lost")
        if leader not in (None, self._identity):
            log.info("following %s", leader)
        self._leader = leader

    def _look(self) -> None:
        """Read the lease; only a change of it starts its time anew."""
        try:
            lease = self._client.get_lease(labels.LEASE_NAME)
        except NotFoundError:
            # Where somebody has deleted it, its holder acts until it notices, or until its time is up.
            if self._is_free():
                self._lease = None
            return
        if self._lease is None or lease["metadata"]["resourceVersion"] != self._lease["metadata"]["resourceVersion"]:
            self._seen_at = self._clock()
        self._lease = lease

    def _holder(self) -> str | None:
        """Who holds the lease as last seen; `None` or empty: nobody."""
        return read_holder(self._lease)

    def _expires_at(self) -> float:
        """Until when the lease as last seen keeps others away, by our clock."""
        return self._seen_at + read_seconds(self._lease)

    def _is_free(self) -> bool:
        return self._holder() in (None, "", self._identity) or self._clock() > self._expires_at()

    def _take(self) -> bool:
        began = self._clock()
        try:
            renews = self._holder() == self._identity
            ours = build_taken(self._lease, self._identity, self._timing.lease_seconds)
            write = self._client.create_lease if self._lease is None else self._client.replace_lease
            self._lease = write(ours)
            if renews:
                _count("renewed")
        except (AlreadyExistsError, ConflictError, NotFoundError):
            # Somebody else wrote it, or we did and never had the answer: the next look tells.
            if self.leading:
                self._look()
                if not self._is_free():
                    self._held_until = 0.0
            return False
        self._seen_at, self._held_until = began, began + self._timing.lease_seconds
        return True


def _count(event: str) -> None:
    metrics.LEASE_EVENTS.labels(event).inc()
