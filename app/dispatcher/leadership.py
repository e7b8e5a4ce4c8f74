"""The Lease and the leader's term as one value, with a function for each step. Pure.

`election` makes the calls and passes their results to these functions. `next_admission`, `term` and `lease` contain the
rules.
"""

from typing import NamedTuple

from app.dispatcher import next_admission
from app.dispatcher.intent import MOST_PINS, Intent, Pin
from app.dispatcher.lease import Claim, SeenLease
from app.dispatcher.next_admission import AdmissionView, IsResting, Slots
from app.dispatcher.term import Term
from app.dispatcher.write import pin_of
from app.domain.run import Run


class Leadership(NamedTuple):
    """The state of a dispatcher that wants the Lease or holds it. Every step returns the changed value.

    Attributes:
        claim: what the dispatcher knows about the Lease.
        term: its term as leader; `None`: it does not lead.
        proposed: the runs that the current write of the Lease adds to the intent.
        confirms: whether that write was begun after the runs were listed.
    """

    claim: Claim
    term: Term | None = None
    proposed: tuple[Run, ...] = ()
    confirms: bool = False

    def prepare_take(self) -> tuple["Leadership", Intent]:
        """Begin to take the Lease. The intent keeps all pins that the last holder left in it."""
        inherited = self.claim.base.intent if self.claim.base else None
        pins = (inherited.pins if inherited else frozenset[Pin]()) | self.claim.orphaned_pins
        complete = inherited is not None and inherited.complete and len(pins) <= MOST_PINS
        # Only a Lease that was edited by hand names more. With all of them, the intent could not be read again.
        claim, intent = self.claim.prepare(frozenset(sorted(pins)[:MOST_PINS]), complete=complete)
        return self._replace(claim=claim, proposed=(), confirms=False), intent

    def prepare_renewal(self, view: AdmissionView, slots: Slots, is_resting: IsResting) -> tuple["Leadership", Intent]:
        """Begin to renew the Lease. The intent gets the runs that are to be admitted next.

        A run that is in the intent, not sent yet, and no longer among these, leaves it.
        """
        assert self.term is not None
        term = self.term.prune(view) if self.term.is_listed else self.term
        batch = next_admission.choose_batch(term, view, slots, is_resting)
        term = term.keep_unsent(batch)
        proposed = tuple(run for run in batch if pin_of(run) not in term.unsent)
        claim, intent = self.claim.prepare(term.named(proposed, view), complete=term.complete)
        return self._replace(claim=claim, term=term, proposed=proposed, confirms=term.is_listed), intent

    def prepare_release(self) -> tuple["Leadership", Intent]:
        """Begin to release the Lease. Admissions in the intent that have not been sent will not be sent."""
        assert self.term is not None
        ended = self.end_term()
        claim, intent = self.claim.prepare(self.term.unsettled(), complete=self.term.complete)
        return ended._replace(claim=claim), intent

    def stored(self, seen: SeenLease) -> "Leadership":
        """Record that the Lease was stored: the term begins, or the proposed runs may now be admitted."""
        assert seen.intent is not None
        if self.term is None:
            term = Term.begin(seen.intent)
        else:
            confirmed = self.confirms or self.term.is_confirmed
            term = self.term.intend(self.proposed)._replace(is_confirmed=confirmed)
        return self._replace(claim=self.claim.stored(seen), term=term, proposed=())

    def unconfirm(self) -> "Leadership":
        """Record that a watch broke. No write for a run is sent until a new write of the Lease has been stored.

        While the watch was broken, etcd may have been restored, and the resumed watch may not show that. The restored
        Lease may have another holder. The new write of the Lease then conflicts.
        """
        term = self.term and self.term._replace(is_confirmed=False)
        return self._replace(term=term, confirms=False)

    def lost_answer(self) -> "Leadership":
        """Record that the write of the Lease had no answer, so the proposed runs must not be admitted."""
        return self._replace(claim=self.claim.lost_answer(), proposed=())

    def conflicts(self) -> "Leadership":
        """Record that the write conflicted, because another client has changed the Lease."""
        claim = self.claim.conflicts()
        kept = self if claim.held or claim.unanswered_writes else self.end_term()
        return kept._replace(claim=claim, proposed=())

    def look(self, seen: SeenLease | None) -> "Leadership":
        """Record the Lease as it was read; `None`: there is no Lease."""
        claim = self.claim.look(seen)
        if self.term is None:
            # An earlier write of this dispatcher, whose answer was lost, has taken the Lease.
            taken = claim.held and claim.base is not None and claim.base.intent is not None
            term = Term.begin(claim.base.intent) if taken and claim.base and claim.base.intent else None
            return self._replace(claim=claim, term=term)
        return self._replace(claim=claim) if claim.held else self.end_term()._replace(claim=claim)

    def end_term(self) -> "Leadership":
        """End the term. No further write is chosen. Writes that were already sent may still arrive."""
        if self.term is None:
            return self
        claim = self.claim._replace(held=False)
        return self._replace(claim=claim, term=None, proposed=())
