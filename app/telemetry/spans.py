"""Spans for OpenTelemetry, where `slimfaas-jobs[opentelemetry]` is installed and the environment names a collector.

Else nothing of it is imported, and what stands here does nothing. Spans are made by hand, at three places
(docs/adr/0012-eyes.md): a call, the calls to the API server that it makes, and the admission of its run.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from app.telemetry.trace_context import TraceContext

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Span, Tracer

log = logging.getLogger(__name__)

Attributes = Mapping[str, str | int]

_FLUSH_SECONDS = 3.0
"""How long the end of the process may wait for a collector to take the last spans."""

_tracer: "Tracer | None" = None
_provider: "TracerProvider | None" = None


def set_up_spans(processor: "SpanProcessor | None" = None) -> None:
    """Make spans from now on; in the process that is to make them, for a thread sends them.

    The service's name, the collector's address and which traces are kept are for OpenTelemetry's own variables to say:
    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

    Args:
        processor: what takes the spans; `None`: one that sends them by OTLP over HTTP.
    """
    global _tracer, _provider  # noqa: PLW0603 - one process makes spans or doesn't
    wanted = ("opentelemetry", "opentelemetry.sdk") + (() if processor else ("opentelemetry.exporter.otlp.proto.http",))
    if not all(_is_there(name) for name in wanted):
        log.warning("a collector is named, but slimfaas-jobs[opentelemetry] is not installed: no spans are made")
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    if processor is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        processor = BatchSpanProcessor(OTLPSpanExporter())
    resource = Resource.create()
    if str(resource.attributes.get("service.name")).startswith("unknown_service"):  # nobody has named it
        resource = resource.merge(Resource({"service.name": "slimfaas-jobs"}))
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("slimfaas-jobs")


def end_spans() -> None:
    """Make no more spans, and send what there is; does not wait for a collector that is away."""
    global _tracer, _provider
    provider, _tracer, _provider = _provider, None, None
    if provider is not None:
        last = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(_FLUSH_SECONDS)


@contextmanager
def call_span(name: str, caller: TraceContext | None) -> Iterator[None]:
    """A span for a call that is answered within the context, as a part of its caller's trace."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(name, _context_of(caller), SpanKind.SERVER):
        yield


def describe_span(name: str, attributes: Attributes, *, failed: bool) -> None:
    """Say of the present call's span what has become known since it began."""
    if _tracer is None:
        return
    from opentelemetry.trace import StatusCode, get_current_span

    span = get_current_span()
    span.update_name(name)
    span.set_attributes(dict(attributes))
    if failed:
        span.set_status(StatusCode.ERROR)


def begin_request_span(name: str, attributes: Attributes) -> "Span | None":
    """Begin the span of a call to the API server; `None`: there are no spans, or nobody's call is behind it."""
    if _tracer is None:
        return None
    from opentelemetry.trace import SpanKind, get_current_span

    if not get_current_span().get_span_context().is_valid:
        return None
    return _tracer.start_span(name, kind=SpanKind.CLIENT, attributes=dict(attributes))


def end_request_span(span: "Span | None", code: str) -> None:
    """End such a span with what came of the call: its status, or what else `app.kube.api_call_metrics` calls it."""
    if span is None:
        return
    from opentelemetry.trace import StatusCode

    if code.isdigit():
        span.set_attribute("http.response.status_code", int(code))
    else:
        span.set_attribute("error.type", code)
    if not code.startswith("2"):
        span.set_status(StatusCode.ERROR)
    span.end()


def record_span(name: str, *, seconds: float, parent: TraceContext | None, attributes: Attributes) -> None:
    """Make a span of what has just ended and took so many seconds."""
    if _tracer is None:
        return
    now = time.time_ns()
    span = _tracer.start_span(
        name, _context_of(parent), attributes=dict(attributes), start_time=now - int(seconds * 1_000_000_000)
    )
    span.end(now)


def current_context() -> TraceContext | None:
    """The place of the present call's span in its trace; `None`: there are no spans."""
    if _tracer is None:
        return None
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    if not context.is_valid:
        return None
    traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"
    return TraceContext(traceparent, context.trace_state.to_header())


def _context_of(parent: TraceContext | None) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if parent is None:
        return Context()
    carrier = {"traceparent": parent.traceparent, "tracestate": parent.tracestate}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a package above it isn't
        return False
