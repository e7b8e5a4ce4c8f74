"""The result of a run of the chaos suite, as a table and as JSON, and its failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.injector import InjectedFault
from tests.chaos.invariants import Counts
from tests.chaos.kinds import HANDOVERS, HANGS, KILLS, LEASE_EDITS, LINKS, OUTAGES, READINESS_CHANGES, Kind
from tests.chaos.schedule import SLOTS, Schedule

_EXAMPLES = 5


@dataclass(frozen=True)
class Report:
    """The result of a run.

    Attributes:
        injected: the outcome of each fault.
        unexpected: events of the service's processes that no fault explains.
        wrong: unexpected responses to callers.
        seconds: the duration of the run.
        restarts: the number of restarted programs.
    """

    schedule: Schedule
    counts: Counts
    injected: Sequence[InjectedFault]
    unexpected: Sequence[str]
    wrong: Sequence[str]
    seconds: float
    restarts: int

    def failures(self) -> list[str]:
        """Return why the run failed: broken promises and faults that hit nothing; empty if it passed."""
        return [*self.broken(), *self.misses()]

    def broken(self) -> list[str]:
        """Return broken promises and all other errors of the service or the run."""
        counts, size = self.counts, self.schedule.size
        found = [f"lost: {one}" for one in counts.lost]
        found += [f"doubled: {one}" for one in counts.doubled]
        found += [f"over its slots: {one}" for one in counts.over]
        found += [f"started before ready: {one}" for one in counts.early]
        found += [f"unexpected: {one}" for one in self.unexpected]
        found += [f"unexpected response: {one}" for one in self.wrong]
        if counts.accepted < size.runs:
            found.append(f"only {counts.accepted} of {size.runs} calls were accepted")
        planned = len(self.schedule.faults)
        if len(self.injected) < planned:
            found.append(f"only {len(self.injected)} of {planned} faults were injected")
        if counts.restores < size.restores:
            found.append(f"only {counts.restores} of {size.restores} restores were made")
        return found

    def misses(self) -> list[str]:
        """Return the faults that hit nothing, and so have tested nothing."""
        missed = [f"hit nothing: {one.kind.value}" for one in self.injected if not one.in_flight]
        return missed if self.counts.off_clock else [*missed, "hit nothing: the shifted clock"]

    def table(self) -> str:
        """Return the result as a table, followed by the failures."""
        rows = list(self._rows())
        wide = max(len(name) for name, _ in rows)
        lines = [f"{name:<{wide}}  {value}" for name, value in rows]
        failures = self.failures()
        lines += [f"FAILED  {one}" for one in failures[: 4 * _EXAMPLES]]
        if len(failures) > 4 * _EXAMPLES:
            lines.append(f"FAILED  and {len(failures) - 4 * _EXAMPLES} more, see the JSON")
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """Return the result as a JSON document."""
        size, counts = self.schedule.size, self.counts
        return {
            "seed": self.schedule.seed,
            "seconds": round(self.seconds, 1),
            "runs": size.runs,
            "accepted": counts.accepted,
            "lost": counts.lost,
            "undoneByRestores": counts.undone,
            "restores": counts.restores,
            "doubled": counts.doubled,
            "overSlots": counts.over,
            "startedBeforeReady": counts.early,
            "slots": SLOTS,
            "mostActive": counts.most_active,
            "mostWithPods": counts.most_with_pods,
            "inDoubt": counts.in_doubt,
            "storedInDoubt": counts.stored_in_doubt,
            "replayed": counts.replayed,
            "startedOnLateNews": {"runs": counts.stale_starts[0], "seconds": round(counts.stale_starts[1], 3)},
            "runsWithMorePods": counts.more_pods,
            "leaders": counts.leaders,
            "restarts": self.restarts,
            "clockOffSeconds": self.schedule.clock_seconds,
            "acceptedByThatClock": counts.off_clock,
            "faults": [
                {
                    "kind": one.kind.name,
                    "atSeconds": round(one.at_seconds, 3),
                    "target": one.target,
                    "queued": one.queued,
                    "active": one.active,
                }
                for one in self.injected
            ],
            "unexpected": list(self.unexpected),
            "wrongAnswers": list(self.wrong),
            "failures": self.failures(),
        }

    def _rows(self) -> Iterator[tuple[str, str]]:
        counts, size = self.counts, self.schedule.size
        yield (
            "seed",
            f"{self.schedule.seed} (repeat with: make chaos SEED={self.schedule.seed}{' SHORT=1' * size.short})",
        )
        yield "took", f"{self.seconds:.0f} s"
        yield "accepted", f"{counts.accepted} of {size.runs}, by two replicas with {size.workers} workers each"
        yield "lost", str(len(counts.lost))
        yield "doubled", str(len(counts.doubled))
        yield "started before ready", str(len(counts.early))
        for name, slots in SLOTS.items():
            yield f"most active of {name}", f"{counts.most_active[name]} of {slots}"
        for title, kinds in (
            ("kill -9 of our processes", KILLS),
            ("handovers of the Lease", HANDOVERS),
            ("connections cut or half-open", LINKS),
            ("writers that hang", HANGS),
            ("the Lease edited by hand", LEASE_EDITS),
            ("API server restarts, etcd pauses and restores", OUTAGES),
            ("changes of dependencies' readiness", READINESS_CHANGES),
        ):
            yield f"{title}, hitting runs in flight", self._hits(kinds)
            for kind in kinds:
                if any(one.kind is kind for one in self.injected):
                    yield f"  {kind.value}", self._hits((kind,))
        yield f"accepted with a clock shifted by {self.schedule.clock_seconds:+d} s", str(counts.off_clock)
        yield "accepted, and undone by a restore", f"{len(counts.undone)}, by {counts.restores} restores"
        yield "restarted programs", str(self.restarts)
        yield "leaders", str(counts.leaders)
        yield "responses that replay an earlier attempt", str(counts.replayed)
        yield "calls abandoned in doubt, of them stored", f"{counts.in_doubt}, {counts.stored_in_doubt}"
        stale, age_seconds = counts.stale_starts
        yield "started on a stale view of a dependency", f"{stale}, {age_seconds:.1f} s old at most"
        yield "runs with more than one pod", str(len(counts.more_pods))

    def _hits(self, kinds: Sequence[Kind]) -> str:
        made = [one for one in self.injected if one.kind in kinds]
        return f"{sum(one.in_flight for one in made)} of {len(made)}"
