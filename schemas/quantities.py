"""Exact parsing of Kubernetes resource quantities.

Grammar: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

import re

_NANO = 10**9
"""Quantities are integers of 10^-9, the finest step that Kubernetes keeps."""

_LARGEST = (2**63 - 1) * _NANO
"""Kubernetes caps larger values. They are refused instead, because nothing may change silently."""

_QUANTITY = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<whole>\d{1,40})(?:\.(?P<fraction>\d{0,40}))?|\.(?P<only_fraction>\d{1,40}))"
    r"(?:(?P<binary>[KMGTPE]i)|(?P<decimal>[numkMGTPE])|[eE](?P<exponent>[+-]?\d{1,3}))?",
    re.ASCII,
)
_BINARY: dict[str, int] = {
    suffix: 1024**power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)
}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


class NotAQuantity(ValueError):
    """The text is not a quantity, or one that Kubernetes would round, cap or refuse."""


def parse_quantity(text: str) -> int:
    """Parse a quantity such as `500m`, `1.5Gi`, `1e3` or `2`.

    Returns:
        The exact amount in 10^-9 of the resource's unit.

    Raises:
        NotAQuantity: the text does not match the grammar, is negative, is finer than 10^-9 or larger than 2^63 - 1.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise NotAQuantity("not a quantity; write it like 500m, 2, 1.5 or 512Mi")
    if match["sign"] == "-":
        raise NotAQuantity("a quantity must not be negative")
    fraction = match["fraction"] or match["only_fraction"] or ""
    digits = int((match["whole"] or "") + fraction)
    exponent = 9 - len(fraction) + (_DECIMAL[match["decimal"]] if match["decimal"] else int(match["exponent"] or 0))
    scaled = digits * _BINARY.get(match["binary"] or "", 1)
    factor: int = 10 ** abs(exponent)
    amount: int
    amount, rest = (scaled * factor, 0) if exponent >= 0 else divmod(scaled, factor)
    if rest:
        raise NotAQuantity("finer than 1n, which Kubernetes would round")
    if amount > _LARGEST:
        raise NotAQuantity("larger than 2^63 - 1, which Kubernetes would cap")
    return amount
