"""The short form of `make model`, and that the model finds each rule that is taken out."""

import pytest

from tests.model.__main__ import draw
from tests.model.explore import explore_all, explore_one
from tests.model.kinds import DRAWN, EXHAUSTIVE
from tests.model.mutants import MUTANTS, without
from tests.support.selection import slow

MUTANT_SCHEDULES = 12_000


@pytest.mark.parametrize("first", [0, 250, *slow(500, 750)])
def test_draw__schedules_keep_all_promises(first: int) -> None:
    """Whatever is lost, late, deleted, restored or killed; where faults stop, every run comes to its end."""
    for seed in range(first, first + 250):
        found = draw(seed)
        assert found.schedule is None, f"seed {seed}: {found.broken}"


@pytest.mark.parametrize(
    "name",
    [
        "one leader, lost answers",
        "a start that takes too long",
        *slow("a write of the Lease that arrives late", "a time in the queue that ends"),
    ],
)
def test_explore_all__every_schedule_of_a_small_world_keeps_all_promises(name: str) -> None:
    """To the end of each."""
    found = explore_all(EXHAUSTIVE[name], most_states=100_000)
    assert found.schedule is None, found.broken
    assert found.states > 100


def test_explore_one__same_seed_gives_same_schedule() -> None:
    """Step by step."""
    with without(MUTANTS["no-inheritance"]):
        found = next(
            (seed, first)
            for seed in range(MUTANT_SCHEDULES)
            if (first := explore_one(DRAWN[seed % len(DRAWN)], seed, steps=60)).schedule
        )
        seed, first = found
        again = explore_one(DRAWN[seed % len(DRAWN)], seed, steps=60)
    assert again == first


@pytest.mark.parametrize("name", MUTANTS)
def test_explore__finds_every_rule_that_is_taken_out(name: str) -> None:
    """Each of them is needed, and the model would see it go."""
    mutant = MUTANTS[name]
    with without(mutant):
        if mutant.world:
            found = explore_all(EXHAUSTIVE[mutant.world], first_steps=mutant.first_steps, most_states=100_000)
            assert found.broken.startswith(mutant.promise), found.broken
            return
        for seed in range(mutant.first_seed, MUTANT_SCHEDULES):
            kind = DRAWN[mutant.kind if mutant.kind >= 0 else seed % len(DRAWN)]
            found = explore_one(kind, seed, steps=60)
            if found.schedule is not None:
                assert found.broken.startswith(mutant.promise), found.broken
                return
    pytest.fail(f"nothing breaks without this rule: {mutant.rule}")
