"""What the Lease says, and what a candidate makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.types import Json
from app.dispatcher.intent import MOST_PINS, Intent, Pin, format_intent, parse_intent
from app.dispatcher.leadership import Leadership
from app.dispatcher.lease import Claim, SeenLease, build_lease, build_released_lease, read_lease
from app.dispatcher.next_admission import MOST_NAMED
from app.kube import labels

pins = st.frozensets(st.builds(Pin, st.uuids().map(str), st.integers(1, 1 << 60)), max_size=20)
INTENT = Intent("me", 3, 9, frozenset({Pin("x", 5)}), complete=True)


def stored(lease: Json, version: int = 1) -> Json:
    return {**lease, "metadata": {**lease["metadata"], "resourceVersion": str(version)}}


@given(pins, st.booleans(), st.integers(0, 1 << 40), st.text())
def test_parse_intent__reads_what_was_written(
    named: frozenset[Pin], complete: bool, sequence: int, holder: str
) -> None:
    """Every run with its version."""
    intent = Intent(holder, 4, sequence, named, complete)
    assert parse_intent(format_intent(intent)) == intent


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        format_intent(INTENT).replace('"format":1', '"format":2'),
        format_intent(INTENT).replace('"format":1', '"format":true'),
        format_intent(INTENT).replace(",5]", ',"5"]'),
        format_intent(INTENT).replace(",5]", "]"),
        format_intent(INTENT)[:-2],
        format_intent(INTENT._replace(pins=frozenset({Pin("\u00e9", 1)}))),
        format_intent(INTENT._replace(pins=frozenset({Pin("", 1)}))),
        format_intent(INTENT._replace(pins=frozenset({Pin("x" * 37, 1)}))),
        format_intent(INTENT._replace(pins=frozenset({Pin("x", -1)}))),
        format_intent(INTENT._replace(pins=frozenset({Pin("x", 1 << 63)}))),
        format_intent(INTENT._replace(pins=frozenset(Pin(str(number), 1) for number in range(MOST_PINS + 1)))),
    ],
)
def test_parse_intent__takes_nothing_else_for_an_intent(text: str | None) -> None:
    """Garbage, and the format of another version: its writer is unknown then."""
    assert parse_intent(text) is None


@pytest.mark.parametrize("left", [0, 10])
def test_prepare_take__writes_an_intent_that_can_be_read_whatever_was_inherited(left: int) -> None:
    """Otherwise no term begins, and the candidate inherits the same pins again and again."""
    largest = frozenset(Pin(f"{number:036}", (1 << 62) + number) for number in range(MOST_PINS))
    inherited = Intent("x", 3, 9, largest, complete=True)
    assert parse_intent(format_intent(inherited)) == inherited
    base = SeenLease("1", "x", 15.0, 3, inherited)
    claim = Claim("m" * 253, base, orphaned_pins=frozenset(Pin(f"left-{number}", 1) for number in range(left)))
    _, intent = Leadership(claim).prepare_take()
    assert parse_intent(format_intent(intent)) == intent
    assert intent.complete is (left == 0)


def test_intent__largest_one__fits_into_an_annotation() -> None:
    """All annotations of an object together may have 256 KiB."""
    most = frozenset(Pin(f"{number:036}", (1 << 62) + number) for number in range(MOST_NAMED))
    assert len(format_intent(INTENT._replace(pins=most))) < 128 * 1024


def test_read_lease__trusts_the_intent_of_the_last_holder_only() -> None:
    """Somebody has held it since who writes no intents: a dispatcher of an earlier version keeps the annotation."""
    lease = stored(build_lease(None, INTENT._replace(transitions=0), 15))
    assert read_lease(lease).intent is not None
    taken_by_another = {**lease, "spec": {**lease["spec"], "holderIdentity": "old", "leaseTransitions": 1}}
    given_back_by_another = {**lease, "spec": {**lease["spec"], "holderIdentity": "", "leaseTransitions": 1}}
    edited = {**lease, "spec": {**lease["spec"], "holderIdentity": "somebody"}}
    for other in (taken_by_another, given_back_by_another, edited):
        assert read_lease(other).intent is None


def test_build_released_lease__keeps_its_holder_while_something_is_under_way() -> None:
    """A dispatcher that writes no intents has to see that there is something to fence."""
    lease = stored(build_lease(None, INTENT._replace(transitions=0), 15))
    clean = build_released_lease(lease, INTENT._replace(pins=frozenset()))
    assert clean["spec"]["holderIdentity"] == ""
    for unclean in (INTENT, INTENT._replace(pins=frozenset(), complete=False)):
        released = build_released_lease(lease, unclean)
        assert (released["spec"]["holderIdentity"], released["spec"]["leaseDurationSeconds"]) == ("me", 1)
    assert parse_intent(clean["metadata"]["annotations"][labels.INTENT_ANNOTATION]) is not None


def test_prepare__begins_to_count_again_after_the_largest_number_of_transitions() -> None:
    """A larger one is no int32: the API server would refuse every write of the Lease, of every candidate."""
    base = SeenLease("1", "other", 15, 2**31 - 1, None)
    assert Claim("me", base).prepare(frozenset(), complete=True)[1].transitions == 0
    assert Claim("me", base._replace(holder="me")).prepare(frozenset(), complete=True)[1].transitions == 2**31 - 1


def test_read_lease__waits_for_no_holder_for_years() -> None:
    """Anybody who may write the Lease could name a holder that does not exist."""
    lease = stored({"metadata": {}, "spec": {"holderIdentity": "x", "leaseDurationSeconds": 2**31 - 1}})
    assert read_lease(lease).seconds == 60


@pytest.mark.parametrize(
    "metadata",
    [
        {"annotations": {"a": "x" * 250_000}},
        {"labels": {f"l{number}": "x" * 60 for number in range(3000)}},
        {"annotations": {labels.INTENT_ANNOTATION: "x" * 250_000}},
        {"managedFields": [{"manager": "x" * 100} for _ in range(3000)]},
    ],
)
def test_build_lease__leaves_room_for_the_intent(metadata: Json) -> None:
    """What others have put on the Lease is not written back where it is too much."""
    lease = stored({"metadata": {"name": labels.LEASE_NAME, "uid": "u", **metadata}})
    lease["spec"] = {"holderIdentity": "x" * 100_000, "strategy": "x", "preferredHolder": "x" * 100_000}
    written = build_lease(lease, INTENT, 15)
    assert len(str(written)) < 2000
    assert (written["metadata"]["uid"], written["metadata"]["resourceVersion"]) == ("u", "1")
    assert parse_intent(written["metadata"]["annotations"][labels.INTENT_ANNOTATION]) == INTENT


def test_build_lease__keeps_a_few_annotations_and_labels_of_others() -> None:
    """Such as those of the tool that watches the namespace."""
    lease = stored({"metadata": {"name": labels.LEASE_NAME, "annotations": {"a": "b"}, "labels": {"team": "x"}}})
    metadata = build_lease(lease, INTENT, 15)["metadata"]
    assert (metadata["annotations"]["a"], metadata["labels"]) == ("b", {"team": "x"})


def lease_of(holder: str, version: str, intent: Intent | None = None) -> SeenLease:
    return SeenLease(version, holder, 15, intent.transitions if intent else 0, intent)


def test_look__knows_a_write_whose_answer_was_lost() -> None:
    """It is recognized by its sequence, which no other write has."""
    claim, intent = Claim("me").look(lease_of("", "5")).prepare(frozenset(), complete=True)
    unsure = claim.lost_answer()
    assert unsure.look(lease_of("", "5")) == unsure, "it may still arrive"
    assert unsure.look(lease_of("me", "6", intent)).held
    assert not unsure.look(lease_of("me", "6", intent._replace(sequence=99))).held
    assert not unsure.look(lease_of("other", "7", intent._replace(holder="other"))).held
    assert not unsure.look(None).held


def test_look__ends_a_hold_that_somebody_else_has_written_over() -> None:
    """Whoever it was, and whatever the clock says."""
    claim, intent = Claim("me").prepare(frozenset(), complete=True)
    held = claim.stored(lease_of("me", "6", intent))
    assert held.look(lease_of("me", "6", intent)).held
    assert not held.look(lease_of("me", "7", intent)).held
    assert not held.conflicts().held


def test_prepare_take__does_not_trust_the_intent_of_a_restored_lease() -> None:
    """A Lease in an earlier version than one that was known does not name what was sent since."""
    later = INTENT._replace(holder="other", pins=frozenset({Pin("y", 8)}))
    restored = INTENT._replace(holder="other")
    known = Leadership(Claim("me")).look(lease_of("other", "1000", later))
    for candidate in (known, known.look(None)):
        after = candidate.look(lease_of("other", "999", restored))
        _, intent = after.prepare_take()
        assert (intent.pins, intent.complete) == (later.pins, False)
        followed = after.look(lease_of("other", "1001", restored))
        assert followed.prepare_take()[1].complete, "what a leader writes after the restore is trusted again"


def test_prepare_take__does_not_trust_an_older_intent_that_was_put_back_by_hand() -> None:
    """A leader and a candidate that have seen a later one keep its pins."""
    for identity in ("me", "other"):
        held = Claim(identity).stored(lease_of("me", "20", INTENT))
        edited = Leadership(held).look(lease_of("me", "21", INTENT._replace(sequence=8, pins=frozenset())))
        _, intent = edited.prepare_take()
        assert (intent.pins, intent.complete) == (INTENT.pins, False)
        renewed = Leadership(held).look(lease_of("me", "21", INTENT._replace(sequence=10, pins=frozenset())))
        assert renewed.prepare_take()[1].complete


def test_stored__trusts_the_own_intent_after_a_restore() -> None:
    """The Lease is created anew, in an earlier version than the one that was known."""
    created = Claim("me").look(lease_of("other", "1000", INTENT)).look(None).stored(lease_of("me", "7", INTENT))
    assert created.look(lease_of("me", "7", INTENT)).base == lease_of("me", "7", INTENT)


def test_prepare__counts_a_change_of_holders() -> None:
    """As Kubernetes' own leader election does."""
    for holder, expected in (("other", 5), ("", 5), ("me", 4)):
        base = SeenLease("1", holder, 15, 4, None)
        assert Claim("me", base).prepare(frozenset(), complete=True)[1].transitions == expected
    assert Claim("me").prepare(frozenset(), complete=True)[1].transitions == 0


def test_look__keeps_the_pins_of_a_lease_that_is_deleted() -> None:
    """The process that led knows what it may have sent, also when the Lease does not say so any more."""
    left = Leadership(Claim("me").stored(lease_of("me", "6", INTENT))).look(None)
    _, intent = left.prepare_take()
    assert (intent.pins, intent.complete) == (INTENT.pins, False)
    assert left.claim.stored(lease_of("me", "7", intent)).orphaned_pins == frozenset()


def test_look__keeps_such_pins_until_a_complete_intent_is_seen() -> None:
    """Another candidate has taken the Lease after it was deleted, and fences what it suspects."""
    left = Claim("me").stored(lease_of("me", "6", INTENT)).look(None)
    other = Intent("other", 0, 1, frozenset({Pin("y", 6)}), complete=False)
    for version, sequence in (("7", 1), ("8", 2)):
        left = left.look(lease_of("other", version, other._replace(sequence=sequence)))
        assert left.orphaned_pins == INTENT.pins
    assert left.look(lease_of("old", "9")).orphaned_pins == INTENT.pins | other.pins
    assert left.look(lease_of("other", "9", other._replace(sequence=3, complete=True))).orphaned_pins == frozenset()
