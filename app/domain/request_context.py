"""The request that made a run, as far as the run keeps it: so people and programs find one from the other."""

from collections.abc import Collection
from dataclasses import dataclass

from app.telemetry.trace_context import TraceContext
from schemas.definition import Variable


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The request that makes a run.

    Attributes:
        request_id: the request's id, as in the log; empty: it has none.
        trace: the request's trace and span; `None`: it has none.
        started_by: the caller's user name, in the form of `write_user_name`; empty: unknown.
    """

    request_id: str = ""
    trace: TraceContext | None = None
    started_by: str = ""

    def variables(self, taken: Collection[str]) -> list[Variable]:
        """Return the environment variables for the run's container, with the names that tracing libraries look for.

        Args:
            taken: names that the definition or the request sets. They win. If `TRACEPARENT` is one of them, nothing is
                added: a `TRACESTATE` of another trace would be wrong.
        """
        if self.trace is None or "TRACEPARENT" in taken:
            return []
        values = {"TRACEPARENT": self.trace.traceparent, "TRACESTATE": self.trace.tracestate}
        return [Variable(name, value, literal=True) for name, value in values.items() if value and name not in taken]
