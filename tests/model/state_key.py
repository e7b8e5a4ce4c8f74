"""What tells one state of a world from another."""

from __future__ import annotations

from typing import Any

from app.dispatcher.intent import Intent
from app.dispatcher.lease import SeenLease
from app.dispatcher.term import Term
from tests.model.sides import LeaseCall, Side
from tests.model.world import World


def state_key(world: World) -> tuple[Any, ...]:
    """What tells this world from others, as far as that matters for what may follow.

    Names, sequences and versions of the Lease are only ever compared for equality, so they are left out but for
    what they equal. How often one definition was served before another is left out, too.
    """
    return (
        tuple(world.runs),
        world.ready,
        _lease_key(world, world.lease),
        frozenset((call.side, world.is_awaited(call), call.write[:2], call.copy) for call in world.calls),
        frozenset(_lease_call_key(world, call) for call in world.late_lease_calls),
        tuple(_side_key(world, side) for side in world.sides),
        tuple(sorted(world.counts.items())),
        world.saved,
        world.by_hand,
        world.closed,
        world.now,
        world.endings,
    )


def _is_current(world: World, version: str | None) -> Any:
    """Whether this version of the Lease is what is stored; a restore can bring any back."""
    if world.kind.limits.get("restored", 1):
        return version
    return version == (world.lease.version if world.lease else "")


def _intent_key(world: World, intent: Intent | None) -> Any:
    if intent is None:
        return None
    holder = next((side for side in world.sides if side.leadership.claim.identity == intent.holder), None)
    unanswered = holder is not None and intent.sequence in holder.leadership.claim.unanswered_writes
    return holder and world.sides.index(holder), unanswered, intent.pins, intent.complete


def _lease_key(world: World, lease: SeenLease | None) -> Any:
    return lease and (_is_current(world, lease.version), lease.holder == "", _intent_key(world, lease.intent))


def _lease_call_key(world: World, call: LeaseCall | None) -> Any:
    return call and (_is_current(world, call.base), _intent_key(world, call.intent), call.releases)


def _side_key(world: World, side: Side) -> tuple[Any, ...]:
    leadership, term = side.leadership, side.leadership.term
    claim = leadership.claim
    return (
        (_lease_key(world, claim.base), claim.held, bool(claim.unanswered_writes), claim.orphaned_pins),
        (leadership.proposed, leadership.confirms),
        term and _term_key(term),
        _lease_call_key(world, side.lease_call),
        (side.view, side.early, side.parked, side.sees_ready, side.listed_unready, side.connected, side.outdated),
    )


def _term_key(term: Term) -> tuple[Any, ...]:
    return (
        (
            term.is_listed,
            term.is_confirmed,
            term.unsent,
            term.in_doubt,
            term.fence_only,
            term.conflicted,
        ),
        (term.suspected, tuple(sorted(term.to_suspect.items())), term.suspects_collected, term.failing, term.healthy),
        frozenset(write[:2] for write in term.in_flight),
        tuple(write[:2] for write in term.slow),
        frozenset(write[:2] for write in term.given_up),
        tuple(sorted(term.served, key=lambda name: term.served[name])),
    )
