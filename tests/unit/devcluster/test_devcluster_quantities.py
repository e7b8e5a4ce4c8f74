"""Quantities: exact values and the canonical form in which the API server gives them back."""

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
def test_a_quantity_comes_back_in_canonical_form(text, canonical):
    """The largest suffix without a fraction, in the style that the quantity was given in."""
    assert canonical_quantity(text) == canonical


@pytest.mark.parametrize("text", ["", "abc", "1 Gi", "1gi", "--1", "0x10", "1.2.3", "\u0661", "1Gi\n"])
def test_what_is_no_quantity_is_refused_in_the_servers_words(text):
    """The message names the pattern, as the API server's does."""
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["1K", "1e", "1kk", "1mi5"])
def test_a_suffix_that_does_not_exist_is_refused_as_such(text):
    """What looks like a quantity but for its suffix gets the message about the suffix."""
    with pytest.raises(ValueError, match="unable to parse quantity's suffix"):
        parse_quantity(text)


@given(QUANTITIES)
def test_the_canonical_form_keeps_the_value_and_is_stable(text):
    """Canonicalising loses nothing, and doing it again changes nothing."""
    canonical = canonical_quantity(text)
    assert parse_quantity(canonical) == parse_quantity(text)
    assert canonical_quantity(canonical) == canonical


@given(st.integers(1, 10**9), st.sampled_from(["n", "u"]))
def test_resources_are_rounded_up_to_thousandths(number, suffix):
    """A container's amounts are never rounded down to nothing."""
    exact = parse_quantity(f"{number}{suffix}")
    rounded = parse_quantity(canonical_quantity(f"{number}{suffix}", round_to_milli=True))
    assert exact <= rounded < exact + Decimal("0.001")


def test_amounts_beyond_the_greatest_are_the_greatest():
    """A quantity is capped at 2^63 - 1, as the API server caps it."""
    assert parse_quantity("1e40") == parse_quantity("9223372036854775807")
