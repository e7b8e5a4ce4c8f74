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


_COUNTED_IN_BYTES = re.compile(r"memory|ephemeral-storage|hugepages-.*")

_WITHOUT_UNIT = re.compile(r"[^kMGTPEi]*")
"""A quantity without a suffix such as Mi or k; a number such as 1e3 is one."""


def parse_amount(resource: str, text: str) -> int:
    """Parse an amount of a resource; see `parse_quantity`.

    Raises:
        NotAQuantity: the text is no quantity, or names a part of a byte. Kubernetes rounds `100m` of memory up to one
            byte. `0.1Gi` is not whole either, but within a byte of what was meant.
    """
    amount = parse_quantity(text)
    if amount % _NANO and _COUNTED_IN_BYTES.fullmatch(resource) and _WITHOUT_UNIT.fullmatch(text):
        raise NotAQuantity(
            f"not a whole number of bytes; {resource} is counted in bytes, so write it like 100Mi or 0.5Gi"
        )
    return amount


_UNLIMITED_BY_ZERO = frozenset({"cpu", "memory", "ephemeral-storage"})
"""To the kubelet and the container runtime, a limit of 0 of these means no limit. Of other resources it means none."""


def parse_limit(resource: str, text: str) -> int:
    """Parse the limit of a resource; see `parse_quantity`.

    Raises:
        NotAQuantity: the text is no quantity, or is a 0 that would mean no limit.
    """
    amount = parse_amount(resource, text)
    if amount == 0 and resource in _UNLIMITED_BY_ZERO:
        raise NotAQuantity(f"a limit of 0 means no limit for {resource}, so it cannot be set")
    return amount
