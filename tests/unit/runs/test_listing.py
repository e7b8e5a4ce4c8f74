"""Lists of runs: the order of a queue in them."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.domain.run import queue_key
from app.runs.listing import pack_queue_key
from tests.unit.dispatcher.runs import make_run

KEYS = st.tuples(st.integers(-(10**18), 10**18), st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,5}[a-z0-9])?", fullmatch=True))


@given(st.lists(KEYS, max_size=20))
def test_packed_keys__sort_as_the_keys_of_the_queue(keys: list[tuple[int, str]]) -> None:
    runs = [replace(make_run(0), queued_at=queued_at, name=name) for queued_at, name in keys]
    assert sorted(runs, key=pack_queue_key) == sorted(runs, key=queue_key)
