"""Resource quantities: exact numbers with an SI or binary suffix.

Parsing, rounding and the canonical form are those of `k8s.io/apimachinery/pkg/api/resource`; see
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/.
"""

import re
from decimal import ROUND_UP, Context, Decimal
from functools import lru_cache
from typing import Literal

_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(.*)", re.DOTALL)
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)")
_BINARY = {suffix: 1024**power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIXES = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_NANO = Decimal("1e-9")
_MILLI = Decimal("1e-3")
_MAX = Decimal(2**63 - 1)
_EXACT = Context(prec=60)  # more digits than any bounded quantity has

_PATTERN = re.compile(r"[+-]?[0-9]*\.?[0-9]*[eEinumkKMGTP]*[-+]?[0-9]*")
_UNKNOWN_SUFFIX = "unable to parse quantity's suffix"
_MESSAGE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"

Format = Literal["binary", "decimal", "exponent"]


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Decimal, Format]:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ValueError(_MESSAGE)
    number, suffix = Decimal(found.group(1)), found.group(2)
    style: Format
    if suffix in _BINARY:
        value, style = _EXACT.multiply(number, Decimal(_BINARY[suffix])), "binary"
    elif suffix in _DECIMAL:
        value, style = number.scaleb(_DECIMAL[suffix], _EXACT), "decimal"
    elif exponent := _EXPONENT.fullmatch(suffix):
        # Numbers beyond these bounds are replaced by the largest or smallest quantity anyway.
        value, style = number.scaleb(max(-40, min(40, int(exponent.group(1)))), _EXACT), "exponent"
    else:
        raise ValueError(_UNKNOWN_SUFFIX if _PATTERN.fullmatch(text) else _MESSAGE)
    value = max(-_MAX, min(_MAX, value))
    return value.quantize(_NANO, ROUND_UP, _EXACT), style


def parse_quantity(text: str) -> Decimal:
    """Return the exact value of a quantity.

    Raises:
        ValueError: the text is not a quantity; the message is the API server's.
    """
    return _parse(text)[0]


@lru_cache(maxsize=4096)
def canonical_quantity(text: str, *, round_to_milli: bool = False) -> str:
    """Return a quantity in the API server's form: 1000m is 1, 0.5 is 500m, 1024Mi is 1Gi.

    Args:
        text: A quantity.
        round_to_milli: Round up to thousandths, as in a container's resources.

    Raises:
        ValueError: the text is not a quantity.
    """
    value, style = _parse(text)
    if round_to_milli:
        value = value.quantize(_MILLI, ROUND_UP, _EXACT)
    if not value:
        return "0"
    if style == "binary" and abs(value) >= 1024:
        return _binary_form(value)
    return _decimal_form(value, style)


def _binary_form(value: Decimal) -> str:
    whole = int(value.to_integral_value(ROUND_UP))
    shown = ""
    for suffix in _BINARY:
        if whole % 1024:
            break
        whole, shown = whole // 1024, suffix
    return f"{whole}{shown}"


def _decimal_form(value: Decimal, style: Format) -> str:
    _, digits, exponent = value.normalize(_EXACT).as_tuple()
    assert isinstance(exponent, int)
    mantissa = int("".join(map(str, digits)))
    shift = exponent % 3
    mantissa, exponent = mantissa * 10**shift, exponent - shift
    exponent_capped = min(exponent, max(_DECIMAL_SUFFIXES))
    mantissa *= 10 ** (exponent - exponent_capped)
    sign = "-" if value < 0 else ""
    if style == "exponent":
        return f"{sign}{mantissa}e{exponent}" if exponent else f"{sign}{mantissa}"
    return f"{sign}{mantissa}{_DECIMAL_SUFFIXES[exponent_capped]}"
