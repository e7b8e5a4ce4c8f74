"""Every metric of the service, and what its labels may be. docs/operations.md describes each for operators.

The values of every label are bounded by what this service is, or by its configuration: nothing that a caller has made
up becomes a series. `definition` is the name of a configured definition, or `UNKNOWN`.

With several gunicorn workers the values live in files that all of them map (docs/adr/0012-eyes.md): gunicorn.conf.py
names the folder before this module is imported, and gives each worker a number.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values
from prometheus_client.multiprocess import mark_process_dead

UNKNOWN = "(unknown)"
"""The `definition` of what has none, or one that is in no configuration; the parentheses keep it apart from names."""

_shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")  # the library's own variable: it reads it, too
SHARED_FOLDER = Path(_shared) if _shared else None
"""Where the workers share their values; `None`: one process counts for itself."""

_worker = 0  # the number of this worker; 0 in the process that forks them

if SHARED_FOLDER is not None:
    # By a number that the next worker takes over, not by process ids: it goes on with what a dead worker has counted,
    # and there are never more files than there were workers at once.
    values.ValueClass = values.MultiProcessValue(lambda: _worker)  # type: ignore[no-untyped-call]

disable_created_metrics()  # type: ignore[no-untyped-call] # they'd be a second series for each counter
REGISTRY = CollectorRegistry()


def become_worker(number: int) -> None:
    """Count as this worker from now on; to be called in a worker that has just been forked, before it counts."""
    global _worker  # noqa: PLW0603 - what the library calls back for
    _worker = number


def forget_worker(number: int) -> None:
    """Drop what only a living worker can say, such as how many streams it has; its counters stay."""
    if SHARED_FOLDER is not None:
        mark_process_dead(number, str(SHARED_FOLDER))  # type: ignore[no-untyped-call]


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"slimfaas_jobs_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    """A gauge of which living workers each have a part."""
    return Gauge(f"slimfaas_jobs_{name}", text, labels, registry=REGISTRY, multiprocess_mode="livesum")


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(f"slimfaas_jobs_{name}", text, labels, registry=REGISTRY, buckets=buckets)


# What callers get. `call` is one of the service's operations, as in /openapi.json, or `UNKNOWN` where no route matched;
# `code` an HTTP status; `reason` one of the reasons in app/api/problems.py, empty where nothing was refused.

HTTP_RESPONSES = _counter("http_answers_total", "Answers by call and HTTP status.", "call", "code")
HTTP_SECONDS = _histogram(
    "http_answer_seconds",
    "From the begin of a call to the head of its answer; waits for runs count, too.",
    "call",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
)
REQUESTS = _counter(
    "requests_total",
    "Requests to start a run. Outcome: accepted, replayed, tried (dry run), refused (4xx) or failed (5xx).",
    "definition",
    "outcome",
    "reason",
)
LONG_REQUESTS = _gauge("streams", "Calls that wait for a run or read a log now.")
LONG_REQUESTS_LIMIT = _gauge("streams_limit", "How many of them there may be.")
LIMITER_REFUSALS = _counter(
    "gate_refusals_total", "Calls that found no place. Gate: calls, reads, lookups, cancels, streams or probes.", "gate"
)
LOOKUPS = _counter(
    "caller_lookups_total",
    "Look-ups of callers. Kind: pod or token. Outcome: remembered, or asked (of the API server).",
    "kind",
    "outcome",
)

# The queue, as the dispatcher that leads sees it; nobody else exports these (`QUEUE`).

QUEUED = _gauge("queued_runs", "Runs that wait to be admitted.", "definition")
ACTIVE = _gauge("active_runs", "Runs that hold a slot.", "definition")
SLOTS = _gauge("slots", "How many runs may be active at once.", "definition")
OLDEST_QUEUED_SECONDS = _gauge(
    "oldest_queued_seconds", "For how long the first run of the queue has waited; 0: none waits.", "definition"
)
IN_DOUBT = _gauge("runs_in_doubt", "Runs whose admission was sent and not answered; each holds a slot.")

QUEUE = frozenset(
    f"slimfaas_jobs_{name}"
    for name in ("queued_runs", "active_runs", "slots", "oldest_queued_seconds", "runs_in_doubt")
)
"""The metrics that only the dispatcher that leads can know."""

_LONG = (0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0)
QUEUED_SECONDS = _histogram("queued_seconds", "From the call of a run to its admission.", "definition", buckets=_LONG)
STARTING_SECONDS = _histogram(
    "starting_seconds",
    "From the admission of a run to the moment at which its Job's status showed a pod that is ready, or has succeeded.",
    "definition",
    buckets=(0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0),
)

# The dispatcher.

LEADING = _gauge("dispatcher_leading", "1 where this replica's dispatcher leads.")
CYCLE_SECONDS = _histogram(
    "dispatcher_cycle_seconds", "What each cycle of the dispatcher took.", buckets=(0.001, 0.01, 0.1, 1.0, 10.0)
)
ADMISSION_WRITES = _counter(
    "admission_writes_total",
    "Writes of the dispatcher to runs. Outcome: admitted, fenced, conflict, gone, refused or unanswered.",
    "outcome",
)
GIVEN_UP = _counter(
    "given_up_runs_total",
    "Runs given up because they had not started within their PendingTimeoutSeconds.",
    "definition",
)
LEASE_EVENTS = _counter(
    "lease_events_total", "What happened to the Lease. Event: gained, renewed, lost, released or failed.", "event"
)
WATCH_ENDS = _counter(
    "watch_ends_total",
    "Watches that ended. Reason: ended (as asked), broken, expired, refused or unreadable.",
    "collection",
    "reason",
)

# Calls to the API server. `verb` and `resource` are Kubernetes' own, `code` an HTTP status, `unreachable` (nothing was
# sent) or `unanswered`.

API_CALLS = _counter("api_calls_total", "Calls to the API server.", "verb", "resource", "code")
API_SECONDS = _histogram(
    "api_call_seconds",
    "From the begin of a call to the API server to the head of its answer; logs and watches aside.",
    "verb",
    "resource",
    buckets=(0.005, 0.025, 0.1, 0.5, 2.0, 6.0),
)
API_CALLS_OPEN = _gauge("api_calls_open", "Calls to the API server under way. Kind: call or stream.", "kind")

# The configuration, by worker: the oldest one, and whether any refuses a newer one.

CONFIGURATION_LOADED = Gauge(
    "slimfaas_jobs_configuration_loaded_timestamp_seconds",
    "When the configuration in force was loaded.",
    registry=REGISTRY,
    multiprocess_mode="livemin",
)
CONFIGURATION_REFUSED = Gauge(
    "slimfaas_jobs_configuration_refused",
    "1 while there is a newer configuration that has faults, and an older one is in force.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
CONFIGURATION_RELOADS = _counter(
    "configuration_reloads_total", "Changes of the configuration. Outcome: taken or refused.", "outcome"
)


# What is known to happen is there from the start, at 0: the first time would else be no increase to Prometheus.
for _metric, _values in (
    (ADMISSION_WRITES, ("admitted", "fenced", "conflict", "gone", "refused", "unanswered")),
    (LEASE_EVENTS, ("gained", "renewed", "lost", "released", "failed")),
    (LIMITER_REFUSALS, ("calls", "reads", "lookups", "cancels", "streams", "probes")),
    (CONFIGURATION_RELOADS, ("taken", "refused")),
    (API_CALLS_OPEN, ("call", "stream")),
):
    for _value in _values:
        _metric.labels(_value)


def configuration_in_force(at: float, *, refused: bool = False) -> None:
    """Say what configuration this process works with.

    Args:
        at: when it was loaded, seconds since the epoch.
        refused: whether there is a newer one that has faults.
    """
    CONFIGURATION_LOADED.set(at)
    CONFIGURATION_REFUSED.set(refused)


def configuration_changed(*, refused: bool) -> None:
    """Count a change of the configuration: taken, or refused for its faults."""
    CONFIGURATION_RELOADS.labels("refused" if refused else "taken").inc()


class QueueGauges:
    """Shows the queue; definitions that are there no more are set to 0, and not exported (exposition.py)."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def show(
        self,
        queued: Mapping[str, int],
        active: Mapping[str, int],
        oldest: Mapping[str, float],
        slots: Mapping[str, int],
    ) -> None:
        """Show these figures, each by definition; the ages are in seconds."""
        for gauge, figures in ((QUEUED, queued), (ACTIVE, active), (OLDEST_QUEUED_SECONDS, oldest), (SLOTS, slots)):
            for definition in self._shown | slots.keys() | {UNKNOWN}:
                gauge.labels(definition).set(figures.get(definition, 0))
        self._shown |= slots.keys()

    def clear(self) -> None:
        """Show nothing: this dispatcher doesn't lead."""
        self.show({}, {}, {}, {})
        IN_DOUBT.set(0)
