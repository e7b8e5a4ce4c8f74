"""What a scrape is answered: the metrics as text, without what its reader has no business to know."""

import platform
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.samples import Sample

from app.telemetry.container import memory_metrics
from app.telemetry.metrics import LEADING, OLDEST_QUEUED_SECONDS, QUEUE, REGISTRY, SHARED_FOLDER, UNKNOWN

PRIVATE = "(private)"
"""The `definition` of all private ones together, where their names are hidden."""


_OPENMETRICS = "application/openmetrics-text"


@dataclass(frozen=True, slots=True)
class Text:
    """The answer to a scrape.

    Attributes:
        content: the metrics.
        content_type: of OpenMetrics where the scraper names it, else of Prometheus' own text format.
    """

    content: bytes
    content_type: str


def write_metrics(accept: str, names: Collection[str], hidden: Collection[str] = ()) -> Text:
    """Write all metrics.

    Args:
        accept: the scraper's `Accept` header.
        names: the definitions that there are; series of others, removed ones, are left out.
        hidden: those of them whose names are not to be shown; their series are added up.
    """
    collected = _Collected(_selected(set(names), set(hidden)))
    # The library's own choice fails on versions that are no numbers, and answers with what the header says.
    if _OPENMETRICS in [one.partition(";")[0].strip().lower() for one in accept.split(",")]:
        content = openmetrics.generate_latest(collected)  # type: ignore[no-untyped-call]
        return Text(content, f"{_OPENMETRICS}; version=1.0.0; charset=utf-8")
    return Text(generate_latest(collected), CONTENT_TYPE_PLAIN_0_0_4)


class _Collected:
    """What the library's encoders take for a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _selected(names: set[str], hidden: set[str]) -> Iterator[Metric]:
    families = list(_collect())
    leads = any(sample.value for family in families if family.name == _name_of(LEADING) for sample in family.samples)
    for family in families:
        if family.name not in QUEUE or leads:
            family.samples = list(_fold(family, names, hidden))
            yield family
    yield from memory_metrics()
    yield _build_info()


def _name_of(metric: object) -> str:
    return str(metric._name)  # type: ignore[attr-defined]


def _collect() -> Iterable[Metric]:
    if SHARED_FOLDER is None:
        yield from REGISTRY.collect()
        yield from _own_process()
        return
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(SHARED_FOLDER))  # type: ignore[no-untyped-call]
    yield from registry.collect()


@cache
def _process_collector() -> ProcessCollector:
    return ProcessCollector(registry=None)


def _own_process() -> Iterable[Metric]:
    """CPU, memory, open files and start of this process; of one among several they would tell little."""
    return _process_collector().collect()


def _fold(family: Metric, names: set[str], hidden: set[str]) -> Iterator[Sample]:
    folded: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for sample in family.samples:
        definition = sample.labels.get("definition")
        if definition is None:
            yield sample
        elif definition in hidden:
            labels = {**sample.labels, "definition": PRIVATE}
            key = (sample.name, tuple(labels.items()))
            together = max if family.name == _name_of(OLDEST_QUEUED_SECONDS) else _add
            folded[key] = together(folded.get(key, 0.0), sample.value)
        elif definition in names or definition == UNKNOWN:
            yield sample
    for (name, pairs), value in folded.items():
        yield Sample(name, dict(pairs), value)


def _add(one: float, other: float) -> float:
    return one + other


def _build_info() -> Metric:
    labels = {"version": _version(), "python": platform.python_version()}
    family = GaugeMetricFamily("slimfaas_jobs_build_info", "Always 1; what runs here.", labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


@cache
def _version() -> str:
    try:
        return version("slimfaas-jobs")
    except PackageNotFoundError:  # run from a source tree that nobody has installed
        return "unknown"
