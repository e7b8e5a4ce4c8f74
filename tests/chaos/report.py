"""What a run of the chaos suite comes to: one table, the same as JSON, and whether all is well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.injector import Strike
from tests.chaos.invariants import Counts
from tests.chaos.kinds import HANDOVERS, KILLS, LINKS, OUTAGES, TURNS, Kind
from tests.chaos.schedule import SLOTS, Schedule

_EXAMPLES = 5


@dataclass(frozen=True)
class Report:
    """The outcome.

    Attributes:
        strikes: what became of each fault.
        surprises: what happened to our processes that should not have.
        wrong: answers that callers should not have got.
        seconds: how long it took.
        restarts: how often a program of ours was started anew.
    """

    schedule: Schedule
    counts: Counts
    strikes: Sequence[Strike]
    surprises: Sequence[str]
    wrong: Sequence[str]
    seconds: float
    restarts: int

    def failures(self) -> list[str]:
        """Why the run counts as failed: a broken promise, or a fault that hit nothing; empty where all is well."""
        return [*self.broken(), *self.misses()]

    def broken(self) -> list[str]:
        """Promises that were not kept, and whatever else went wrong with the service or the run."""
        counts, size = self.counts, self.schedule.size
        found = [f"lost: {one}" for one in counts.lost]
        found += [f"doubled: {one}" for one in counts.doubled]
        found += [f"over its slots: {one}" for one in counts.over]
        found += [f"started before ready: {one}" for one in counts.early]
        found += [f"unexpected: {one}" for one in self.surprises]
        found += [f"wrong answer: {one}" for one in self.wrong]
        if counts.accepted < size.runs:
            found.append(f"only {counts.accepted} of {size.runs} calls were accepted")
        planned = len(self.schedule.strokes)
        if len(self.strikes) < planned:
            found.append(f"only {len(self.strikes)} of {planned} faults were made")
        return found

    def misses(self) -> list[str]:
        """Faults that hit nothing: what they were to show has not been shown."""
        missed = [f"hit nothing: {one.kind.value}" for one in self.strikes if not one.in_flight]
        return missed if self.counts.off_clock else [*missed, "hit nothing: the clock that is off"]

    def table(self) -> str:
        """For people; the failures below it."""
        rows = list(self._rows())
        wide = max(len(name) for name, _ in rows)
        lines = [f"{name:<{wide}}  {value}" for name, value in rows]
        failures = self.failures()
        lines += [f"FAILED  {one}" for one in failures[: 4 * _EXAMPLES]]
        if len(failures) > 4 * _EXAMPLES:
            lines.append(f"FAILED  and {len(failures) - 4 * _EXAMPLES} more, see the JSON")
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """For programs."""
        size, counts = self.schedule.size, self.counts
        return {
            "seed": self.schedule.seed,
            "seconds": round(self.seconds, 1),
            "runs": size.runs,
            "accepted": counts.accepted,
            "lost": counts.lost,
            "doubled": counts.doubled,
            "overSlots": counts.over,
            "startedBeforeReady": counts.early,
            "slots": SLOTS,
            "mostActive": counts.most_active,
            "mostWithPods": counts.most_with_pods,
            "inDoubt": counts.in_doubt,
            "storedInDoubt": counts.stored_in_doubt,
            "replayed": counts.replayed,
            "startedOnLateNews": {"runs": counts.late_news[0], "seconds": round(counts.late_news[1], 3)},
            "runsWithMorePods": counts.more_pods,
            "leaders": counts.leaders,
            "restarts": self.restarts,
            "clockOffSeconds": self.schedule.clock_seconds,
            "acceptedByThatClock": counts.off_clock,
            "strikes": [
                {
                    "kind": one.kind.name,
                    "atSeconds": round(one.at_seconds, 3),
                    "struck": one.struck,
                    "queued": one.queued,
                    "active": one.active,
                }
                for one in self.strikes
            ],
            "surprises": list(self.surprises),
            "wrongAnswers": list(self.wrong),
            "failures": self.failures(),
        }

    def _rows(self) -> Iterator[tuple[str, str]]:
        counts, size = self.counts, self.schedule.size
        yield "seed", f"{self.schedule.seed} (again: make chaos SEED={self.schedule.seed}{' SHORT=1' * size.short})"
        yield "took", f"{self.seconds:.0f} s"
        yield "accepted", f"{counts.accepted} of {size.runs}, by two replicas with {size.workers} workers each"
        yield "lost", str(len(counts.lost))
        yield "doubled", str(len(counts.doubled))
        yield "started before ready", str(len(counts.early))
        for name, slots in SLOTS.items():
            yield f"most active of {name}", f"{counts.most_active[name]} of {slots}"
        for title, kinds in (
            ("kill -9 of our processes", KILLS),
            ("hand-overs of the Lease", HANDOVERS),
            ("connections cut or half-open", LINKS),
            ("API server restarts, etcd stops", OUTAGES),
            ("dependencies that turned", TURNS),
        ):
            yield f"{title}, hitting runs in flight", self._hits(kinds)
            for kind in kinds:
                if any(one.kind is kind for one in self.strikes):
                    yield f"  {kind.value}", self._hits((kind,))
        yield f"accepted by the clock that is off by {self.schedule.clock_seconds:+d} s", str(counts.off_clock)
        yield "programs started anew", str(self.restarts)
        yield "leaders", str(counts.leaders)
        yield "answers from an earlier try", str(counts.replayed)
        yield "calls left in doubt, of them stored", f"{counts.in_doubt}, {counts.stored_in_doubt}"
        late, late_seconds = counts.late_news
        yield "started on late news of a dependency", f"{late}, by {late_seconds:.1f} s at most"
        yield "runs with more than one pod", str(len(counts.more_pods))

    def _hits(self, kinds: Sequence[Kind]) -> str:
        made = [one for one in self.strikes if one.kind in kinds]
        return f"{sum(one.in_flight for one in made)} of {len(made)}"
