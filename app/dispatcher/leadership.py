"""Taking, keeping and losing the Lease together with the term that depends on it. Pure steps over values.

`election` makes the calls and reports their results. `admission_rules` and `lease` have the rules.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from app.dispatcher.admission_rules import RunView, Term
from app.dispatcher.intent import Intent, Pin
from app.dispatcher.lease import Claim, SeenLease
from app.domain.run import Run


class Leadership(NamedTuple):
    """A candidate for the Lease, or its holder. Every step returns the changed value.

    Attributes:
        claim: its hold on the Lease.
        term: what it has under way; `None`: it does not lead.
        proposed: the runs that the write of the Lease under way names for the first time.
        confirms: whether that write was begun after the runs were listed.
    """

    claim: Claim
    term: Term | None = None
    proposed: tuple[Run, ...] = ()
    confirms: bool = False

    def prepare_take(self) -> tuple["Leadership", Intent]:
        """Begin to take the Lease as it was last seen, with all that its last holder left under way."""
        inherited = self.claim.base.intent if self.claim.base else None
        pins: frozenset[Pin] = inherited.pins if inherited else frozenset()
        claim, intent = self.claim.prepare(
            pins | self.claim.left, complete=inherited is not None and inherited.complete
        )
        return self._replace(claim=claim, proposed=(), confirms=False), intent

    def prepare_renewal(
        self, view: RunView, slots: Mapping[str, int], resting: Callable[[str], bool]
    ) -> tuple["Leadership", Intent]:
        """Begin to renew the Lease, with the runs that are to be admitted next."""
        assert self.term is not None
        term = self.term
        if term.is_listed:
            term = term.prune(view).drop_unsendable(view, slots, resting)
        chosen = term.choose(view, slots, resting)
        claim, intent = self.claim.prepare(term.named(chosen, view), complete=term.complete)
        return self._replace(claim=claim, term=term, proposed=tuple(chosen), confirms=term.is_listed), intent

    def prepare_release(self) -> tuple["Leadership", Intent]:
        """Begin to give the Lease back. What stands in it and was not sent will not be sent."""
        assert self.term is not None
        ended = self.end_term()
        claim, intent = self.claim.prepare(self.term.unsettled(), complete=self.term.complete)
        return ended._replace(claim=claim), intent

    def stored(self, seen: SeenLease) -> "Leadership":
        """The Lease was stored as proposed: the term begins, or the proposed runs may be sent."""
        assert seen.intent is not None
        if self.term is None:
            term = Term.begin(seen.intent)
        else:
            confirmed = self.confirms or self.term.is_confirmed
            term = self.term.intend(self.proposed)._replace(is_confirmed=confirmed)
        return self._replace(claim=self.claim.stored(seen), term=term, proposed=())

    def unconfirm(self) -> "Leadership":
        """A watch broke. Nothing is sent before a write of the Lease that begins after this was stored.

        A watch may go on silently although etcd was restored in the meantime, with another leader in the restored
        Lease. That write then conflicts.
        """
        term = self.term and self.term._replace(is_confirmed=False)
        return self._replace(term=term, confirms=False)

    def unsure(self) -> "Leadership":
        """The write of the Lease had no answer, so nothing that it proposed may be sent."""
        return self._replace(claim=self.claim.unsure(), proposed=())

    def conflicts(self) -> "Leadership":
        """The Lease is not what the write was to replace."""
        claim = self.claim.conflicts()
        kept = self if claim.held or claim.unanswered else self.end_term()
        return kept._replace(claim=claim, proposed=())

    def look(self, seen: SeenLease | None) -> "Leadership":
        """Take in the Lease as it was read; `None`: there is none."""
        claim = self.claim.look(seen)
        if self.term is None:
            # An own write without an answer has taken it.
            taken = claim.held and claim.base is not None and claim.base.intent is not None
            term = Term.begin(claim.base.intent) if taken and claim.base and claim.base.intent else None
            return self._replace(claim=claim, term=term)
        return self._replace(claim=claim) if claim.held else self.end_term()._replace(claim=claim)

    def end_term(self) -> "Leadership":
        """Stop leading. Nothing more is chosen; what is under way may still land."""
        if self.term is None:
            return self
        claim = self.claim._replace(held=False)
        return self._replace(claim=claim, term=None, proposed=())
