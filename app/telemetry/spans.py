"""OpenTelemetry spans, if `slimfaas-jobs[opentelemetry]` is installed and the environment names a collector.

Otherwise nothing of OpenTelemetry is imported, and the functions here do nothing. There are three kinds of spans
(docs/adr/0012-observability.md): a request, the calls to the API server that it makes, and the admission of its run.
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
"""How long the end of the process waits until the collector has the last spans."""

_tracer: "Tracer | None" = None
_provider: "TracerProvider | None" = None


def set_up_spans(processor: "SpanProcessor | None" = None) -> None:
    """Start to record spans. Call this after the last fork: a thread sends them.

    OpenTelemetry's own variables set the service's name, the collector's address and the sampling:
    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

    Args:
        processor: receives the spans; `None`: send them by OTLP over HTTP.
    """
    global _tracer, _provider  # noqa: PLW0603 - a state of the process
    wanted = ("opentelemetry", "opentelemetry.sdk") + (() if processor else ("opentelemetry.exporter.otlp.proto.http",))
    if not all(map(_is_installed, wanted)):
        log.warning("no spans are recorded: a collector is set, but slimfaas-jobs[opentelemetry] is not installed")
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    if processor is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        processor = BatchSpanProcessor(OTLPSpanExporter())
    resource = Resource.create()
    if str(resource.attributes.get("service.name")).startswith("unknown_service"):  # no variable sets it
        resource = resource.merge(Resource({"service.name": "slimfaas-jobs"}))
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("slimfaas-jobs")


def end_spans() -> None:
    """Stop recording, and send the last spans; waits 3 s at most for the collector."""
    global _tracer, _provider
    provider, _tracer, _provider = _provider, None, None
    if provider is not None:
        last = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(_FLUSH_SECONDS)


@contextmanager
def request_span(name: str, caller: TraceContext | None) -> Iterator[None]:
    """Record the block as the span of a request, within its caller's trace if it has one."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(name, _context_of(caller), SpanKind.SERVER):
        yield


def describe_request_span(name: str, attributes: Attributes, *, failed: bool) -> None:
    """Set the name, attributes and status of the current request's span."""
    if _tracer is None:
        return
    from opentelemetry.trace import StatusCode, get_current_span

    span = get_current_span()
    span.update_name(name)
    span.set_attributes(dict(attributes))
    if failed:
        span.set_status(StatusCode.ERROR)


def begin_api_call_span(name: str, attributes: Attributes) -> "Span | None":
    """Begin the span of a call to the API server; returns `None` outside of a request, or if spans are off."""
    if _tracer is None:
        return None
    from opentelemetry.trace import SpanKind, get_current_span

    if not get_current_span().get_span_context().is_valid:
        return None
    return _tracer.start_span(name, kind=SpanKind.CLIENT, attributes=dict(attributes))


def end_api_call_span(span: "Span | None", code: str) -> None:
    """End the span of a call to the API server.

    Args:
        span: the span; `None`: do nothing.
        code: the call's HTTP status, or `unreachable` or `unanswered` (`app.kube.api_call_metrics`).
    """
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
    """Record a span that ends now and began `seconds` ago."""
    if _tracer is None:
        return
    now = time.time_ns()
    span = _tracer.start_span(
        name, _context_of(parent), attributes=dict(attributes), start_time=now - int(seconds * 1_000_000_000)
    )
    span.end(now)


def current_context() -> TraceContext | None:
    """Return the trace context of the current request's span; `None` outside of a request, or if spans are off."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return TraceContext(carrier["traceparent"], carrier.get("tracestate", "")) if carrier else None


def _context_of(parent: TraceContext | None) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if parent is None:
        return Context()
    carrier = {"traceparent": parent.traceparent, "tracestate": parent.tracestate}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False
