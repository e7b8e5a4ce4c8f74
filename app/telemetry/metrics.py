"""Every metric of the service. docs/operations.md describes each for operators.

The service or its configuration limits the values of every label: nothing that a caller sends becomes a series.
`definition` is the name of a configured definition, or `UNKNOWN`.

With several gunicorn workers the values are in files that all workers map (docs/adr/0012-observability.md).
app/server/gunicorn_conf.py sets the folder before this module is imported, and gives each worker a number.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values
from prometheus_client.multiprocess import mark_process_dead

UNKNOWN = "(unknown)"
"""The value of the label `definition` for a request or run without a configured definition. No name has parentheses."""

_shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")  # prometheus_client reads it as well
SHARED_FOLDER = Path(_shared) if _shared else None
"""The folder in which the workers share their values; `None`: this process has values of its own."""

_worker = 0  # the number of this worker; 0 in the master

if SHARED_FOLDER is not None:
    # Name the files by the worker's number instead of its process id. A new worker takes over the number of a dead one
    # and continues its counters, so that there are never more files than workers.
    values.ValueClass = values.MultiProcessValue(lambda: _worker)  # type: ignore[no-untyped-call]

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter
REGISTRY = CollectorRegistry()


def become_worker(number: int) -> None:
    """Set the number of this worker. Call it right after the fork, before anything is counted."""
    global _worker  # noqa: PLW0603 - the library calls back for it
    _worker = number


def forget_worker(number: int) -> None:
    """Drop the gauges of a worker that has ended, such as its open requests; its counters stay."""
    if SHARED_FOLDER is not None:
        mark_process_dead(number, str(SHARED_FOLDER))  # type: ignore[no-untyped-call]


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"slimfaas_jobs_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    """Declare a gauge that is the sum over the living workers."""
    return Gauge(f"slimfaas_jobs_{name}", text, labels, registry=REGISTRY, multiprocess_mode="livesum")


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(f"slimfaas_jobs_{name}", text, labels, registry=REGISTRY, buckets=buckets)


# HTTP. `call` is an operation of /openapi.json, or `UNKNOWN` if no route matched; `code` is an HTTP status; `reason` is
# one of app/api/problems.py, empty if the request was not refused.

HTTP_RESPONSES = _counter("http_answers_total", "HTTP responses by operation and status.", "call", "code")
HTTP_SECONDS = _histogram(
    "http_answer_seconds",
    "Time from the start of a request to the head of its response, waits for runs included.",
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
LONG_REQUESTS = _gauge("streams", "Open requests that wait for a run or read a log.")
LONG_REQUESTS_LIMIT = _gauge("streams_limit", "Limit of open requests that wait for a run or read a log.")
LIMITER_REFUSALS = _counter(
    "gate_refusals_total",
    "Requests refused by a limit. Gate: calls, reads, lookups, cancels, lists, bodies, streams or probes.",
    "gate",
)
LOOKUPS = _counter(
    "caller_lookups_total",
    "Look-ups of callers. Kind: pod, token or access (a SubjectAccessReview). Outcome: remembered (cached) or asked "
    "(of the API server).",
    "kind",
    "outcome",
)

# The queue. Only the leading dispatcher exports these (`QUEUE`).

QUEUED = _gauge("queued_runs", "Runs that wait for admission.", "definition")
ACTIVE = _gauge("active_runs", "Runs that hold a slot.", "definition")
SLOTS = _gauge("slots", "Limit of active runs.", "definition")
OLDEST_QUEUED_SECONDS = _gauge(
    "oldest_queued_seconds", "Waiting time of the first run of the queue; 0: the queue is empty.", "definition"
)
UNDELIVERED = _gauge("undelivered_notifications", "Ended runs whose receiver is still to be told.", "definition")
OLDEST_UNDELIVERED_SECONDS = _gauge(
    "oldest_undelivered_seconds", "Time since the first of these runs ended; 0: there is none.", "definition"
)
IN_DOUBT = _gauge("runs_in_doubt", "Runs whose admission was sent without a response. Each holds a slot.")

QUEUE = frozenset(
    f"slimfaas_jobs_{name}"
    for name in (
        "queued_runs",
        "active_runs",
        "slots",
        "oldest_queued_seconds",
        "undelivered_notifications",
        "oldest_undelivered_seconds",
        "runs_in_doubt",
    )
)
"""The metrics that only the leading dispatcher knows."""

QUEUED_SECONDS = _histogram(
    "queued_seconds",
    "Time from the request of a run to its admission.",
    "definition",
    buckets=(0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0),
)
STARTING_SECONDS = _histogram(
    "starting_seconds",
    "Time from the admission of a run until its Job has a pod that is ready or has succeeded.",
    "definition",
    buckets=(0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0),
)

# The dispatcher.

LEADING = _gauge("dispatcher_leading", "1 if this replica's dispatcher leads.")
CYCLE_SECONDS = _histogram(
    "dispatcher_cycle_seconds", "Duration of each cycle of the dispatcher.", buckets=(0.001, 0.01, 0.1, 1.0, 10.0)
)
ADMISSION_WRITES = _counter(
    "admission_writes_total",
    "Writes to runs by the dispatcher. Outcome: admitted, fenced, conflict, gone, refused or unanswered.",
    "outcome",
)
GIVEN_UP = _counter(
    "given_up_runs_total",
    "Runs ended because they did not start within their PendingTimeoutSeconds or SLIMFAAS_START_ERROR_TIMEOUT_SECONDS.",
    "definition",
)
QUEUE_TIMEOUTS = _counter(
    "queue_timeouts_total",
    "Runs ended because they were queued for longer than their QueueTimeoutSeconds.",
    "definition",
)
IGNORED_GATES = _counter("ignored_kueue_gates_total", "Runs that Kueue has started before they were admitted.")
ENDED_RUNS = _counter(
    "ended_runs_total",
    "Runs that ended. Outcome: succeeded, failed or cancelled (deleted before the end). Reason: why a run failed.",
    "definition",
    "outcome",
    "reason",
)
RUN_SECONDS = _histogram(
    "run_seconds",
    "Time from the start of a run's Job to its end, retries included.",
    "definition",
    buckets=(1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0, 86400.0),
)
RETRIES = _counter("run_retries_total", "Pods made again after one failed, in runs that have ended.", "definition")
NOTIFICATION_OUTCOMES = ("delivered", "failed", "given_up", "not_wanted")
NOTIFICATIONS = _counter(
    "notifications_total",
    "Notifications of ended runs. Outcome: delivered, failed (an attempt), given_up or not_wanted.",
    "definition",
    "outcome",
)
LEASE_EVENTS = _counter(
    "lease_events_total", "Changes of the Lease. Event: gained, renewed, lost, released or failed.", "event"
)
WATCH_ENDS = _counter(
    "watch_ends_total",
    "Watches that ended. Reason: ended (by their timeout), broken, expired, refused or unreadable.",
    "collection",
    "reason",
)

# Calls to the API server. `verb` and `resource` are Kubernetes' own; `code` is an HTTP status, `unreachable` (nothing
# was sent) or `unanswered` (sent, without a response).

API_CALLS = _counter("api_calls_total", "Calls to the API server.", "verb", "resource", "code")
API_SECONDS = _histogram(
    "api_call_seconds",
    "Time from the start of a call to the API server to the head of its response, without logs and watches.",
    "verb",
    "resource",
    buckets=(0.005, 0.025, 0.1, 0.5, 2.0, 6.0),
)
API_CALLS_OPEN = _gauge("api_calls_open", "Open calls to the API server. Kind: call or stream.", "kind")

# The configuration: of several workers the oldest one, and whether any worker refuses a newer one.

CONFIGURATION_LOADED = Gauge(
    "slimfaas_jobs_configuration_loaded_timestamp_seconds",
    "When the configuration in force was loaded.",
    registry=REGISTRY,
    multiprocess_mode="livemin",
)
CONFIGURATION_REFUSED = Gauge(
    "slimfaas_jobs_configuration_refused",
    "1 while the newest configuration has faults and an older one stays in force.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
# Several workers have the same definitions, a moment apart.

DEFINITIONS = Gauge(
    "slimfaas_jobs_definitions",
    "Definitions in force. Source: configuration or cronjob.",
    ("source",),
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
CRONJOBS_REFUSED = Gauge(
    "slimfaas_jobs_refused_cronjobs",
    "CronJobs that are meant to be definitions, and whose newest version is not in force.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
CONFIGURATION_RELOADS = _counter(
    "configuration_reloads_total", "Changes of the configuration. Outcome: taken or refused.", "outcome"
)


# Create the known series at 0: Prometheus sees no increase when a series begins at 1.
for _metric, _values in (
    (ADMISSION_WRITES, ("admitted", "fenced", "conflict", "gone", "refused", "unanswered")),
    (LEASE_EVENTS, ("gained", "renewed", "lost", "released", "failed")),
    (LIMITER_REFUSALS, ("calls", "reads", "lookups", "cancels", "lists", "bodies", "streams", "probes")),
    (CONFIGURATION_RELOADS, ("taken", "refused")),
    (API_CALLS_OPEN, ("call", "stream")),
):
    for _value in _values:
        _metric.labels(_value)


def configuration_in_force(at: float, *, refused: bool = False) -> None:
    """Set the gauges of the configuration.

    Args:
        at: when it was loaded, in seconds since the epoch.
        refused: whether a newer configuration was refused.
    """
    CONFIGURATION_LOADED.set(at)
    CONFIGURATION_REFUSED.set(refused)


def definitions_in_force(configured: int, from_cronjobs: int, refused_cronjobs: int) -> None:
    """Set how many definitions are in force, by source, and how many CronJobs are refused."""
    CRONJOBS_REFUSED.set(refused_cronjobs)
    DEFINITIONS.labels("configuration").set(configured)
    DEFINITIONS.labels("cronjob").set(from_cronjobs)


def configuration_changed(*, refused: bool) -> None:
    """Count a change of the configuration that was taken, or refused for its faults."""
    CONFIGURATION_RELOADS.labels("refused" if refused else "taken").inc()


class QueueGauges:
    """The gauges of the queue. The gauges of a definition are removed together with it.

    Files of several workers keep every series: there they are set to 0, and not exported (exposition.py).
    """

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def show(
        self,
        queued: Mapping[str, int],
        active: Mapping[str, int],
        oldest: Mapping[str, float],
        slots: Mapping[str, int],
    ) -> None:
        """Set the gauges, each by definition; ages are in seconds."""
        gone = self._shown - slots.keys()
        for gauge, numbers in ((QUEUED, queued), (ACTIVE, active), (OLDEST_QUEUED_SECONDS, oldest), (SLOTS, slots)):
            for definition in self._shown | slots.keys() | {UNKNOWN}:
                gauge.labels(definition).set(numbers.get(definition, 0))
            # Who may write CronJobs may make any number of names, one after the other.
            for definition in gone if SHARED_FOLDER is None else ():
                gauge.remove(definition)
        self._shown = (self._shown | slots.keys()) if SHARED_FOLDER is not None else set(slots)

    def clear(self) -> None:
        """Set all gauges to 0: this dispatcher does not lead."""
        self.show({}, {}, {}, {})
        IN_DOUBT.set(0)
