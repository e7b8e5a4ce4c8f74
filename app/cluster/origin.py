"""What a run keeps of the call that made it, so that people and programs find from one to the other."""

from collections.abc import Collection
from dataclasses import dataclass

from app.cluster import keys
from app.observability.trace_context import TraceContext
from schemas.definition import Variable


@dataclass(frozen=True, slots=True)
class Origin:
    """The call that makes a run.

    Attributes:
        request_id: the call's, as in the log; empty: it has none.
        trace: the call's place in a trace; `None`: it has none.
    """

    request_id: str = ""
    trace: TraceContext | None = None

    def annotations(self) -> dict[str, str]:
        """What stands on the Job."""
        found = {keys.REQUEST_ID_ANNOTATION: self.request_id} if self.request_id else {}
        return found | ({keys.TRACEPARENT_ANNOTATION: self.trace.traceparent} if self.trace else {})

    def variables(self, taken: Collection[str]) -> list[Variable]:
        """What the container gets, by the names that tracing libraries look for.

        Args:
            taken: names that the definition or the request sets. Where `TRACEPARENT` is one of them, that counts, and
                there is nothing of ours: half of each would be a trace that nobody has made.
        """
        if self.trace is None or "TRACEPARENT" in taken:
            return []
        values = {"TRACEPARENT": self.trace.traceparent, "TRACESTATE": self.trace.tracestate}
        return [Variable(name, value, literal=True) for name, value in values.items() if value and name not in taken]
