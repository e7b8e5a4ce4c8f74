"""Read metrics with the Prometheus client's own parser."""

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples of one scrape.

    Args:
        text: the response's body.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parsed = list(text_string_to_metric_families(text))
        self.names = {family.name for family in parsed}
        self._samples = [sample for family in parsed for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series with these labels; 0 where there is none."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == f"slimfaas_jobs_{name}" and labels.items() <= sample.labels.items()
        )

    def labels(self, label: str) -> set[str]:
        """Return every value of a label, over all metrics."""
        return {sample.labels[label] for sample in self._samples if label in sample.labels}

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[str]:
        return iter(self.text.splitlines())
