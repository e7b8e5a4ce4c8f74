"""The call that made a run: what the run keeps of it, so that people and programs can find one from the other."""

from collections.abc import Collection
from dataclasses import dataclass

from app.telemetry.trace_context import TraceContext
from schemas.definition import Variable


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The call that makes a run.

    Attributes:
        request_id: the call's, as in the log; empty: it has none.
        trace: the call's place in a trace; `None`: it has none.
    """

    request_id: str = ""
    trace: TraceContext | None = None

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
