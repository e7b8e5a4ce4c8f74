"""The finished runs whose end is still to be told: an index of the leader's store, empty without notifications.

`app/dispatcher/deliveries.py` decides which of them is told next, and when one is given up.
"""

from collections.abc import Iterable

from app.domain.run import Run


class UndeliveredRuns:
    """Holds the runs by definition and outcome, each group from the first end to the last, as far as they are seen so.

    The lock of the store guards it.

    Attributes:
        groups: the runs by uid. No group is empty.
    """

    def __init__(self) -> None:
        self.groups: dict[tuple[str, str], dict[str, Run]] = {}

    def put(self, run: Run) -> None:
        """Hold a finished run if its end is still to be told, unless a later version of it is known."""
        assert run.end is not None
        held = self.get(run.uid)
        if held is not None and held.resource_version > run.resource_version:
            return
        key = (run.definition, run.end.outcome)
        if held is not None and (not run.end.undelivered or _key_of(held) != key):
            self.discard(run.uid)
        if run.end.undelivered:
            self.groups.setdefault(key, {})[run.uid] = run

    def sort(self) -> None:
        """Sort each group by the ends of its runs, after a list, which has them in another order."""
        for key, runs in self.groups.items():
            self.groups[key] = dict(sorted(runs.items(), key=lambda held: ended_at(held[1])))

    def discard(self, uid: str) -> None:
        """Forget a run: it is gone, or its end has been told."""
        for key, runs in self.groups.items():
            if runs.pop(uid, None) is not None:
                if not runs:
                    del self.groups[key]
                return

    def get(self, uid: str) -> Run | None:
        """Return a run that is held."""
        return next((runs[uid] for runs in self.groups.values() if uid in runs), None)

    def definitions(self) -> list[str]:
        """Return the definitions that have such runs."""
        return list(dict.fromkeys(definition for definition, _ in self.groups))

    def count(self, definition: str) -> int:
        """Return how many runs of a definition are held."""
        return sum(len(runs) for (name, _), runs in self.groups.items() if name == definition)

    def oldest_end(self, definition: str) -> int | None:
        """Return when the first of a definition's runs ended, in microseconds since the epoch."""
        firsts: Iterable[Run] = (
            next(iter(runs.values())) for (name, _), runs in self.groups.items() if name == definition
        )
        return min((ended_at(run) for run in firsts), default=None)


def ended_at(run: Run) -> int:
    """Return when a finished run ended, in microseconds since the epoch, or was made if its Job does not say it."""
    assert run.end is not None
    return run.end.ended_at or run.created_at


def _key_of(run: Run) -> tuple[str, str]:
    assert run.end is not None
    return run.definition, run.end.outcome
