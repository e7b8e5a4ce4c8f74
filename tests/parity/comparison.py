"""Comparison of the responses of two servers. Pure functions."""

import re
from collections.abc import Iterator, Sequence

from tests.parity.differences import BY_CONTROLLERS, DIFFERENCES
from tests.parity.sides import Facts

PLAYED_AGAIN = "played again"
"""The property of a test whose servers differed the first time and not the last: how often it was played again."""

_KNOWN = [re.compile(pattern) for pattern in (BY_CONTROLLERS, *(one.path for one in DIFFERENCES if one.path))]


def unknown_differences(real: Sequence[Facts], embedded: Sequence[Facts]) -> list[str]:
    """Return one line for each fact in which the servers differ, except for deliberate differences."""
    return [line for fact, line in differing_facts(real, embedded) if not any(known.search(fact) for known in _KNOWN)]


def differing_facts(real: Sequence[Facts], embedded: Sequence[Facts]) -> Iterator[tuple[str, str]]:
    """Yield each fact in which the servers differ, as `<kind>:<path>`, and a line that describes it."""
    for one, other in zip(real, embedded, strict=False):
        what = one.get("call") or one.get("event")
        for path, value, other_value in _unlike(one, other):
            yield f"{one.get('kind', '')}:{path}", f"  {what}: {path}: real {value!r}, embedded {other_value!r}"
    longer, name = (real, "real") if len(real) > len(embedded) else (embedded, "embedded")
    for facts in longer[min(len(real), len(embedded)) :]:
        yield "", f"  only {name}: {facts}"


def _unlike(real: Facts, embedded: Facts) -> Iterator[tuple[str, object, object]]:
    for path in sorted(real.keys() | embedded.keys()):
        one, other = real.get(path, "nothing"), embedded.get(path, "nothing")
        if path == "items" and isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            for index, pair in enumerate(zip(one, other, strict=True)):
                for inner, value, other_value in _unlike(*pair):
                    yield f"items[{index}].{inner}", value, other_value
        elif one != other:
            yield path, one, other
