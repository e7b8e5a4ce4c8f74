"""The W3C's trace context, read as strictly as it is written down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.telemetry.trace_context import TraceContext, read_trace_context

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"


def test_a_valid_one_is_passed_on_as_it_is() -> None:
    """With its state."""
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
def test_what_is_invalid_is_ignored(traceparent: str | None) -> None:
    """The call is answered as if it had none."""
    assert read_trace_context(traceparent, "a=b") is None


@pytest.mark.parametrize("more", ["", "-", "-what-comes"])
def test_of_a_later_version_remains_what_this_one_knows(more: str) -> None:
    """Its flags but for `sampled` mean something that nobody knows yet."""
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
def test_a_state_is_kept_or_dropped_as_a_whole(given_state: str, kept: str) -> None:
    """An invalid one costs the trace nothing."""
    assert read_trace_context(VALID, given_state) == TraceContext(VALID, kept)


@given(st.text(), st.text())
def test_whatever_is_read_is_short_and_printable(traceparent: str, tracestate: str) -> None:
    """Nothing else reaches an annotation or an environment."""
    for parent in (traceparent, VALID):
        found = read_trace_context(parent, tracestate)
        if found is not None:
            assert len(found.traceparent) == 55
            assert len(found.tracestate) <= 512
            assert found.tracestate.isascii()
            assert found.tracestate.isprintable()
