"""Schedules of the chaos suite."""

from collections import Counter

from hypothesis import given, strategies

from tests.chaos.kinds import HANDOVERS, HANGS, KILLS, LEASE_EDITS, LINKS, OUTAGES, READINESS_CHANGES, Kind
from tests.chaos.schedule import FULL, SHORT, Size, gate_name, make_schedule

SEEDS = strategies.integers(0, 2**32)
SIZES = strategies.sampled_from([FULL, SHORT])


@given(SEEDS, SIZES)
def test_make_schedule__same_seed_gives_same_schedule(seed: int, size: Size) -> None:
    assert make_schedule(seed, size) == make_schedule(seed, size)
    assert make_schedule(seed, size).calls != make_schedule(seed + 1, size).calls


@given(SEEDS, SIZES)
def test_make_schedule__has_the_numbers_of_its_size(seed: int, size: Size) -> None:
    """All faults come before the last calls."""
    schedule = make_schedule(seed, size)
    kinds = Counter(fault.kind for fault in schedule.faults)
    assert sum(kinds[kind] for kind in KILLS) == size.kills
    assert sum(kinds[kind] for kind in HANDOVERS) == size.handovers
    assert sum(kinds[kind] for kind in LINKS) == size.links
    assert kinds[Kind.STOP_API_SERVER] + kinds[Kind.KILL_API_SERVER] == size.restarts
    assert kinds[Kind.PAUSE_ETCD] == size.pauses
    assert kinds[Kind.RESTORE_ETCD] == size.restores
    assert sum(kinds[kind] for kind in HANGS) == size.hangs
    assert sum(kinds[kind] for kind in LEASE_EDITS) == size.lease_edits
    assert kinds[Kind.BECOME_READY] == size.gates
    assert kinds[Kind.BECOME_UNREADY] == kinds[Kind.BECOME_READY_AGAIN] == len(size.unready_periods)
    assert len({call.mark for call in schedule.calls}) == size.runs
    assert all(0 < fault.at_seconds < size.seconds for fault in schedule.faults)
    assert all(fault.lasts_seconds >= size.pause_seconds for fault in schedule.faults if fault.kind is Kind.PAUSE_ETCD)
    assert 120 <= abs(schedule.clock_seconds) <= 600


@given(SEEDS, SIZES)
def test_make_schedule__each_gate_becomes_ready_once(seed: int, size: Size) -> None:
    """No run depends on a gate that never becomes ready."""
    schedule = make_schedule(seed, size)
    opened = [round(fault.pick * size.gates) for fault in schedule.faults if fault.kind is Kind.BECOME_READY]
    gates = {gate_name(number) for number in opened}
    assert len(gates) == len(opened) == size.gates
    assert {name for call in schedule.calls if call.definition == "gated" for name in call.depends_on} <= gates


@given(SEEDS, SIZES, strategies.sampled_from([KILLS, LINKS, LEASE_EDITS]))
def test_make_schedule__has_every_kind_of_kill_network_fault_and_edit(
    seed: int, size: Size, kinds: tuple[Kind, ...]
) -> None:
    assert {fault.kind for fault in make_schedule(seed, size).faults} >= set(kinds)


def test_full_size__has_the_documented_numbers() -> None:
    assert (FULL.runs, FULL.kills, FULL.links, FULL.pause_seconds, FULL.workers) == (1000, 20, 20, 10.0, 4)
    assert {fault.kind for fault in make_schedule(0, FULL).faults} == set(Kind)


def test_kinds__each_belongs_to_exactly_one_group() -> None:
    groups = (KILLS, HANDOVERS, LINKS, HANGS, LEASE_EDITS, OUTAGES, READINESS_CHANGES)
    assert Counter(kind for group in groups for kind in group) == Counter(Kind)
