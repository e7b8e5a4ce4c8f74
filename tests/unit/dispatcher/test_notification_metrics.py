"""The metrics of notifications that wait."""

from app.dispatcher.notification_metrics import NotificationMetrics
from app.dispatcher.undelivered import UndeliveredRuns
from app.telemetry import metrics
from app.telemetry.exposition import write_metrics
from tests.support.clock import Clock
from tests.support.metrics import Scrape
from tests.unit.dispatcher.test_deliveries import NOW, ended


def scrape(*names: str, hidden: tuple[str, ...] = ()) -> Scrape:
    return Scrape(write_metrics("", names, hidden).content.decode())


def test_notification_metrics__show_number_and_age_by_definition() -> None:
    """Those of unknown definitions are together, those of hidden ones, too: numbers are added, of ages the highest."""
    clock = Clock()
    runs = UndeliveredRuns()
    for number, (definition, ago) in enumerate([("m", 50), ("m", 5), ("n", 7), ("gone", 99), ("lost", 1)]):
        runs.put(ended(number, definition, ago=ago))
    shown = NotificationMetrics(clock)
    metrics.LEADING.set(1)
    try:
        shown.show(runs, {"m", "n"}, NOW)
        found = scrape("m", "n")
        names = ("m", "n", "(unknown)")
        assert [found.value("undelivered_notifications", definition=name) for name in names] == [2, 1, 2]
        assert [found.value("oldest_undelivered_seconds", definition=name) for name in names] == [50, 7, 99]
        assert found.value("notifications_total", definition="m", outcome="given_up") == 0  # an increase can be seen
        hiding = scrape("m", "n", hidden=("m", "n"))
        assert hiding.value("undelivered_notifications", definition="(private)") == 3
        assert hiding.value("oldest_undelivered_seconds", definition="(private)") == 50
        for number in range(5):
            runs.discard(f"uid-{number}")
        shown.show(runs, {"m", "n"}, NOW)  # too soon after the last
        assert scrape("m").value("undelivered_notifications", definition="m") == 2
        clock.now += 1
        shown.show(runs, {"m", "n"}, NOW)
        assert scrape("m").value("undelivered_notifications", definition="m") == 0
        assert scrape("m").value("oldest_undelivered_seconds", definition="m") == 0
    finally:
        shown.clear()
        metrics.LEADING.set(0)
