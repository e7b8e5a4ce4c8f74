"""Strict parsing of JSON: what parsers could interpret differently is a fault."""

import json
from collections import Counter
from collections.abc import Iterator

from schemas.faults import Fault, pointer_to, printable

MAX_DEPTH = 64
"""The deepest nesting of a document; a configuration needs 7 levels, a request 4."""

_MAX_DIGITS = 4300
"""The longest integer: Python's own default, because the time to convert grows with the square of the length."""


class NotJson(ValueError):
    """The text is not a JSON document (RFC 8259), or is nested deeper than `MAX_DEPTH`."""


class _Object(dict[str, object]):
    """A JSON object, with the keys that it had more than once."""

    repeated: tuple[str, ...] = ()


def _build_object(pairs: list[tuple[str, object]]) -> _Object:
    built = _Object(pairs)
    if len(built) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        built.repeated = tuple(key for key, count in counts.items() if count > 1)
    return built


def _refuse_constant(name: str) -> object:
    raise NotJson(f"{name} is not a JSON value")


def _parse_integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise NotJson("a number has too many digits")
    return int(digits)


def parse(document: bytes | str) -> tuple[object, list[Fault]]:
    """Parse a JSON document, and find what makes it ambiguous.

    Args:
        document: UTF-8 bytes, or text.

    Returns:
        The value, and a fault for every key that an object has twice (parsers differ in which one they take) and for
        every string that no Kubernetes object can contain: one with a NUL character or with half of a surrogate pair.

    Raises:
        NotJson: the document is not JSON or not UTF-8, contains NaN or Infinity, or is nested too deep.
    """
    try:
        text = document if isinstance(document, str) else document.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_build_object, parse_int=_parse_integer, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        raise NotJson(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise NotJson(f"nested deeper than {MAX_DEPTH} levels") from error
    return value, list(_ambiguities(value, ()))


def _ambiguities(value: object, path: tuple[str | int, ...]) -> Iterator[Fault]:
    if len(path) > MAX_DEPTH:
        raise NotJson(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        yield from _text_faults(value, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _ambiguities(item, (*path, index))
    elif isinstance(value, _Object):
        for key in value.repeated:
            yield Fault(pointer_to(*path, key), "given more than once")
        for key, item in value.items():
            yield from _text_faults(key, (*path, key))
            yield from _ambiguities(item, (*path, key))


def _text_faults(text: str, path: tuple[str | int, ...]) -> Iterator[Fault]:
    if "\0" in text:
        yield Fault(pointer_to(*path), "contains a NUL character")
    if printable(text) != text:
        yield Fault(pointer_to(*path), "contains half of a surrogate pair, which is not valid Unicode")
