"""`schemas.quantities`: Kubernetes' grammar, and exact arithmetic."""

import contextlib
import re
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.quantities import NotAQuantity, parse_amount, parse_limit, parse_quantity

NANO = 10**9
LARGEST = 2**63 - 1
FACTORS: dict[str, Fraction] = {
    "": Fraction(1),
    **{suffix: Fraction(10) ** power for suffix, power in (("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6))},
    **{suffix: Fraction(10) ** power for suffix, power in (("G", 9), ("T", 12), ("P", 15), ("E", 18))},
    **{suffix: Fraction(2) ** (10 * power) for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}
NUMBERS = st.from_regex(r"\A\+?([0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]{1,12})\Z")
SUFFIXES = st.sampled_from(sorted(FACTORS)) | st.from_regex(r"\A[eE][+-]?[0-9]{1,2}\Z")


def exact(number: str, suffix: str) -> Fraction:
    """The amount by Python's own rational arithmetic."""
    whole, _, fraction = number.lstrip("+").partition(".")
    value = Fraction(int(whole + fraction or "0"), 10 ** len(fraction))
    return value * (FACTORS[suffix] if suffix in FACTORS else Fraction(10) ** int(suffix[1:]))


@given(NUMBERS, SUFFIXES)
def test_parse_quantity__agrees_with_rational_arithmetic(number: str, suffix: str) -> None:
    """Or refuses what Kubernetes would round or cap."""
    amount = exact(number, suffix)
    if (amount * NANO).denominator == 1 and amount <= LARGEST:
        assert parse_quantity(number + suffix) == amount * NANO
    else:
        with pytest.raises(NotAQuantity):
            parse_quantity(number + suffix)


@given(NUMBERS, SUFFIXES, NUMBERS, SUFFIXES)
def test_parse_quantity__keeps_the_order_across_suffixes(
    number: str, suffix: str, other: str, other_suffix: str
) -> None:
    try:
        left, right = parse_quantity(number + suffix), parse_quantity(other + other_suffix)
    except NotAQuantity:
        assume(False)
    else:
        assert (left < right) == (exact(number, suffix) < exact(other, other_suffix))
        assert (left == right) == (exact(number, suffix) == exact(other, other_suffix))


@given(st.integers(0, LARGEST * NANO))
def test_parse_quantity__reads_back_every_amount(amount: int) -> None:
    whole, rest = divmod(amount, NANO)

    assert parse_quantity(f"{whole}.{rest:09}") == amount
    assert parse_quantity(f"{amount}n") == amount


@given(st.text("0123456789.+-eEinumkKMGTPE \n٣", max_size=8))
def test_parse_quantity__follows_the_grammar(text: str) -> None:
    grammar = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?"
    try:
        parse_quantity(text)
    except NotAQuantity:
        return
    assert re.fullmatch(grammar, text)


@given(st.text(max_size=30))
def test_parse_quantity__returns_or_refuses_any_text(text: str) -> None:
    """No other exception is raised."""
    with contextlib.suppress(NotAQuantity):
        assert parse_quantity(text) >= 0


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1G", "1000M"),
        ("1Gi", "1024Mi"),
        ("512Ki", "524288"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("1e3", "1k"),
        ("1E3", "1e3"),
        ("1E", "1e18"),
        ("1e+3", "1000"),
        ("1e-3", "1m"),
        ("1E-3", "1m"),
        ("1.5Gi", "1536Mi"),
        ("0.1Ki", "102.4"),
        ("1000n", "1u"),
        ("+1", "1"),
        ("007", "7"),
        ("0", "0Gi"),
        ("0e-99", "0"),
        ("7Ei", "8070450532247928832"),
    ],
)
def test_parse_quantity__reads_equal_amounts_in_different_notations(left: str, right: str) -> None:
    assert parse_quantity(left) == parse_quantity(right)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("1G", "1Gi"),
        ("999m", "1"),
        ("0.3", "0.30000001"),
        ("9007199254740992", "9007199254740993"),
        ("1E3", "1E"),
        ("1m", "1M"),
        ("9223372036854775806.999999999", "9223372036854775807"),
    ],
)
def test_parse_quantity__distinguishes_neighbouring_amounts(smaller: str, larger: str) -> None:
    """Also where floating point does not."""
    assert parse_quantity(smaller) < parse_quantity(larger)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, "not a quantity") for text in ("", " ", "abc", ".", "m", "Ki", "1e", "1 Gi", " 1", "1\n", "1Gi\n")),
        *((text, "not a quantity") for text in ("1K", "1KI", "1ki", "1mi", "1g", "1e3.5", "1e3Mi", "1_000", "1,5")),
        *((text, "not a quantity") for text in ("٣", "0x10", "--1", "NaN", "inf", "1e9999", "1" * 41, "1GiB")),
        ("-1", "must not be negative"),
        ("-0", "must not be negative"),
        ("0.5n", "finer"),
        ("1e-10", "finer"),
        ("0.0000000001", "finer"),
        ("8Ei", "larger"),
        ("9223372036854775808", "larger"),
        ("9223372036854775807.1", "larger"),
        ("1e19", "larger"),
        ("10E", "larger"),
        ("9" * 40 + "E", "larger"),
    ],
)
def test_parse_quantity__refuses_what_kubernetes_would_refuse_round_or_cap(text: str, reason: str) -> None:
    with pytest.raises(NotAQuantity, match=reason):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["100m", "0.5", "100500m", "1.5", "1u", "5e-1", "1n"])
@pytest.mark.parametrize("resource", ["memory", "ephemeral-storage", "hugepages-2Mi"])
@pytest.mark.parametrize("parse", [parse_amount, parse_limit])
def test_parse_amount__refuses_a_part_of_a_byte(parse: Callable[[str, str], int], resource: str, text: str) -> None:
    """Kubernetes takes `100m` of memory for one byte, and only warns."""
    with pytest.raises(NotAQuantity, match=f"not a whole number of bytes; {resource} is counted in bytes"):
        parse(resource, text)


@pytest.mark.parametrize(
    ("resource", "text"),
    [("cpu", "100m"), ("cpu", "0.5"), ("memory", "0.1Gi"), ("memory", "1000m"), ("memory", "1e3"), ("memory", "0.5k")],
)
def test_parse_amount__accepts_what_can_be_meant(resource: str, text: str) -> None:
    assert parse_amount(resource, text) == parse_quantity(text)
