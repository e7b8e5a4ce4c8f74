"""Quantities: exact values, and the canonical form that the API server returns."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster.validation.quantities import canonical_quantity, parse_quantity

SUFFIXES = st.sampled_from(["", "m", "k", "M", "G", "Mi", "Gi", "e3", "E-2"])
QUANTITIES = st.builds(lambda number, suffix: f"{number}{suffix}", st.integers(-10_000, 10_000), SUFFIXES)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.1Ki", "102400m"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e6", "12e6"),
        ("1500000", "1500k"),
        ("1E", "1E"),
        ("100u", "100u"),
        ("1.0", "1"),
        ("+5", "5"),
        (".5", "500m"),
        ("5.", "5"),
        ("0Gi", "0"),
        ("-1", "-1"),
        ("512Ki", "512Ki"),
    ],
)
def test_canonical_quantity__keeps_the_style_and_uses_the_largest_suffix(text, canonical):
    """The largest suffix without a fraction, in the style of the given quantity."""
    assert canonical_quantity(text) == canonical


@pytest.mark.parametrize("text", ["", "abc", "1 Gi", "1gi", "--1", "0x10", "1.2.3", "\u0661", "1Gi\n"])
def test_parse_quantity__refuses_other_texts_with_the_servers_message(text):
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["1K", "1e", "1kk", "1mi5"])
def test_parse_quantity__names_an_unknown_suffix(text):
    with pytest.raises(ValueError, match="unable to parse quantity's suffix"):
        parse_quantity(text)


@given(QUANTITIES)
def test_canonical_quantity__keeps_the_value_and_is_idempotent(text):
    canonical = canonical_quantity(text)
    assert parse_quantity(canonical) == parse_quantity(text)
    assert canonical_quantity(canonical) == canonical


@given(st.integers(1, 10**9), st.sampled_from(["n", "u"]))
def test_canonical_quantity__rounds_resources_up_to_thousandths(number, suffix):
    """So a container's amount is never rounded down to 0."""
    exact = parse_quantity(f"{number}{suffix}")
    rounded = parse_quantity(canonical_quantity(f"{number}{suffix}", round_to_milli=True))
    assert exact <= rounded < exact + Decimal("0.001")


def test_canonical_quantity__is_capped():
    """At 2^63 - 1, as in the API server."""
    assert parse_quantity("1e40") == parse_quantity("9223372036854775807")
