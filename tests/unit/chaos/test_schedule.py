"""A seed says all that happens in a run of the chaos suite."""

from collections import Counter

from hypothesis import given, strategies

from tests.chaos.kinds import HANDOVERS, KILLS, LINKS, OUTAGES, TURNS, Kind
from tests.chaos.schedule import FULL, SHORT, Size, limiter, make_schedule

SEEDS = strategies.integers(0, 2**32)
SIZES = strategies.sampled_from([FULL, SHORT])


@given(SEEDS, SIZES)
def test_a_seed_makes_the_same_schedule_again(seed: int, size: Size) -> None:
    """And another seed another one."""
    assert make_schedule(seed, size) == make_schedule(seed, size)
    assert make_schedule(seed, size).calls != make_schedule(seed + 1, size).calls


@given(SEEDS, SIZES)
def test_every_schedule_has_all_that_its_size_promises(seed: int, size: Size) -> None:
    """While there are still calls to come."""
    schedule = make_schedule(seed, size)
    kinds = Counter(stroke.kind for stroke in schedule.strokes)
    assert sum(kinds[kind] for kind in KILLS) == size.kills
    assert sum(kinds[kind] for kind in HANDOVERS) == size.handovers
    assert sum(kinds[kind] for kind in LINKS) == size.links
    assert kinds[Kind.STOP_API_SERVER] + kinds[Kind.KILL_API_SERVER] == size.restarts
    assert kinds[Kind.PAUSE_ETCD] == size.pauses
    assert kinds[Kind.OPEN_GATE] == size.gates
    assert kinds[Kind.EBB] == kinds[Kind.FLOOD] == len(size.ebbs)
    assert len({call.mark for call in schedule.calls}) == size.runs
    assert all(0 < stroke.at_seconds < size.seconds for stroke in schedule.strokes)
    assert all(
        stroke.lasts_seconds >= size.pause_seconds for stroke in schedule.strokes if stroke.kind is Kind.PAUSE_ETCD
    )
    assert 120 <= abs(schedule.clock_seconds) <= 600


@given(SEEDS, SIZES)
def test_each_gate_is_opened_once(seed: int, size: Size) -> None:
    """And no run waits for one that isn't there."""
    schedule = make_schedule(seed, size)
    opened = [round(stroke.pick * size.gates) for stroke in schedule.strokes if stroke.kind is Kind.OPEN_GATE]
    gates = {limiter(number) for number in opened}
    assert len(gates) == len(opened) == size.gates
    assert {name for call in schedule.calls if call.definition == "gated" for name in call.depends_on} <= gates


@given(SEEDS, SIZES, strategies.sampled_from([KILLS, LINKS]))
def test_both_forms_have_every_kind_of_kill_and_of_broken_link(seed: int, size: Size, lane: tuple[Kind, ...]) -> None:
    """Also the short one, whatever its seed."""
    assert {stroke.kind for stroke in make_schedule(seed, size).strokes} >= set(lane)


def test_the_full_form_is_as_promised() -> None:
    """A thousand runs, twenty kills, twenty broken links, and every outage."""
    assert (FULL.runs, FULL.kills, FULL.links, FULL.pause_seconds, FULL.workers) == (1000, 20, 20, 10.0, 4)
    assert {stroke.kind for stroke in make_schedule(0, FULL).strokes} == set(Kind)


def test_every_kind_is_carried_out_in_a_lane() -> None:
    """None is forgotten."""
    assert sorted((*KILLS, *HANDOVERS, *LINKS, *OUTAGES, *TURNS), key=lambda kind: kind.name) == sorted(
        Kind, key=lambda kind: kind.name
    )
