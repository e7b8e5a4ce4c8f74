"""`app.telemetry.trace_context`: what the W3C's standard allows in the two headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.telemetry.trace_context import TraceContext, read_trace_context

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"


def test_read_trace_context__keeps_valid_headers_unchanged() -> None:
    state = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
    assert read_trace_context(VALID, state) == TraceContext(VALID, state)


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        VALID.upper(),
        f" {VALID}",
        f"{VALID}\n",
        f"{VALID}-",
        f"{VALID}-more",
        f"{VALID},{VALID}",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-0x",
        f"01-{TRACE}-{PARENT}-01more",
        f"00-{TRACE[:-1]}\u0661-{PARENT}-01",
    ],
)
def test_read_trace_context__is_none_for_an_invalid_traceparent(traceparent: str | None) -> None:
    assert read_trace_context(traceparent, "a=b") is None


@pytest.mark.parametrize("more", ["", "-", "-more"])
def test_read_trace_context__keeps_the_known_parts_of_a_later_version(more: str) -> None:
    """Of its flags only `sampled` is known."""
    assert read_trace_context(f"cc-{TRACE}-{PARENT}-ff{more}", None) == TraceContext(VALID)


@pytest.mark.parametrize(
    ("given_state", "kept"),
    [
        ("a=b , c=d,", "a=b,c=d"),
        ("fw529a3039@dt=FfAxMA", "fw529a3039@dt=FfAxMA"),
        ("a", ""),
        ("A=b", ""),
        ("a=b=c", ""),
        ("a=b,a=c", ""),
        ("a=b\r\nX: y", ""),
        ("a=\u00e9", ""),
        (",".join(f"k{number}=1" for number in range(33)), ""),
        ("a=" + "b" * 256, "a=" + "b" * 256),
        (f"a={'b' * 256},c={'d' * 256}", ""),
    ],
)
def test_read_trace_context__keeps_or_drops_the_whole_tracestate(given_state: str, kept: str) -> None:
    """An invalid one leaves `traceparent` valid."""
    assert read_trace_context(VALID, given_state) == TraceContext(VALID, kept)


@given(st.text(), st.text())
def test_read_trace_context__returns_only_short_printable_values(traceparent: str, tracestate: str) -> None:
    """They become an annotation and environment variables."""
    for parent in (traceparent, VALID):
        found = read_trace_context(parent, tracestate)
        if found is not None:
            assert len(found.traceparent) == 55
            assert len(found.tracestate) <= 512
            assert found.tracestate.isascii()
            assert found.tracestate.isprintable()
