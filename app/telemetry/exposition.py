"""The response to a scrape: all metrics as text, without the names that its reader may not see."""

import platform
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from operator import add

from prometheus_client import Gauge
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.samples import Sample

from app.telemetry.container import memory_metrics
from app.telemetry.metrics import (
    LEADING,
    OLDEST_QUEUED_SECONDS,
    OLDEST_UNDELIVERED_SECONDS,
    QUEUE,
    REGISTRY,
    SHARED_FOLDER,
    UNKNOWN,
)

PRIVATE = "(private)"
"""The value of the label `definition` for all private definitions together, when their names are hidden."""

_OPENMETRICS = "application/openmetrics-text"

_PROCESS = ProcessCollector(registry=None)
"""CPU, memory, open files and start time of this process."""


@dataclass(frozen=True, slots=True)
class Exposition:
    """The metrics as text.

    Attributes:
        content: the text.
        content_type: OpenMetrics if the scraper accepts it, else Prometheus' text format.
    """

    content: bytes
    content_type: str


def write_metrics(accept: str, names: Collection[str], hidden: Collection[str] = ()) -> Exposition:
    """Return all metrics as text.

    Args:
        accept: the scraper's `Accept` header.
        names: the definitions in force; the series of removed definitions are left out.
        hidden: the definitions among them whose names are hidden; their series are added up as `PRIVATE`.
    """
    families = _Families(_select(set(names), set(hidden)))
    # The library's `choose_encoder` fails on a version that is not a number, and copies the header into the response.
    if _OPENMETRICS in [accepted.partition(";")[0].strip().lower() for accepted in accept.split(",")]:
        content = openmetrics.generate_latest(families)  # type: ignore[no-untyped-call]
        return Exposition(content, f"{_OPENMETRICS}; version=1.0.0; charset=utf-8")
    return Exposition(generate_latest(families), CONTENT_TYPE_PLAIN_0_0_4)


class _Families:
    """The part of a registry that the library's encoders use."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _select(names: set[str], hidden: set[str]) -> Iterator[Metric]:
    families = list(_collect())
    leading = _name_of(LEADING)
    is_leading = any(sample.value for family in families if family.name == leading for sample in family.samples)
    for family in families:
        if family.name not in QUEUE or is_leading:
            family.samples = list(_select_samples(family, names, hidden))
            yield family
    yield from memory_metrics()
    yield _build_info()


def _name_of(gauge: Gauge) -> str:
    (family,) = gauge.describe()
    return family.name


def _collect() -> Iterator[Metric]:
    if SHARED_FOLDER is None:
        yield from REGISTRY.collect()
        yield from _PROCESS.collect()
    else:  # the figures of one process among several would mislead
        yield from MultiProcessCollector(None, str(SHARED_FOLDER)).collect()  # type: ignore[no-untyped-call]


def _select_samples(family: Metric, names: set[str], hidden: set[str]) -> Iterator[Sample]:
    ages = {_name_of(OLDEST_QUEUED_SECONDS), _name_of(OLDEST_UNDELIVERED_SECONDS)}
    folded: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for sample in family.samples:
        definition = sample.labels.get("definition")
        if definition is None:
            yield sample
        elif definition in hidden:
            labels = {**sample.labels, "definition": PRIVATE}
            key = (sample.name, tuple(labels.items()))
            together = max if family.name in ages else add
            folded[key] = together(folded.get(key, 0.0), sample.value)
        elif definition in names or definition == UNKNOWN:
            yield sample
    for (name, pairs), value in folded.items():
        yield Sample(name, dict(pairs), value)


def _build_info() -> Metric:
    labels = {"version": _version(), "python": platform.python_version()}
    family = GaugeMetricFamily(
        "slimfaas_jobs_build_info", "Always 1; the versions of the service and of Python.", labels=list(labels)
    )
    family.add_metric(list(labels.values()), 1)
    return family


@cache
def _version() -> str:
    try:
        return version("slimfaas-jobs")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
