"""So many calls may wait at once, and no more."""

import pytest

from app.services.gate import BusyError, Gate


def test_a_call_without_a_place_is_refused() -> None:
    """It is told so, instead of holding a thread for as long as the others do."""
    gate = Gate(places=2)
    with gate.place(), gate.place(), pytest.raises(BusyError), gate.place():
        pytest.fail("a third call got in")


def test_a_place_is_free_again_after_a_call_however_it_ended() -> None:
    """A failed call takes no place with it."""
    gate = Gate(places=1)
    for _ in range(3):
        with pytest.raises(LookupError), gate.place():
            raise LookupError
    with gate.place():
        pass


def test_a_gate_within_another_takes_a_place_of_both() -> None:
    """The many are kept out by the few only as far as these got in."""
    whole = Gate(places=3)
    part = Gate(places=1, within=whole)
    with part.place(), pytest.raises(BusyError), part.place():
        pytest.fail("a second call got into the part")
    with whole.place(), part.place(), whole.place(), pytest.raises(BusyError), whole.place():
        pytest.fail("a fourth call got into the whole")
    with whole.place(), whole.place(), whole.place(), pytest.raises(BusyError), part.place():
        pytest.fail("a call got past the whole")
    with part.place(), whole.place(), whole.place():
        pass
