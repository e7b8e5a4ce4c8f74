"""Text from the service, as a terminal may show it, and text in columns."""

import codecs
import unicodedata
from collections.abc import Iterator, Sequence

_CONTROLS = {ord("\t"): " ", ord("\n"): " ", ord("\r"): " "}
_CUT = "…"
_GAP = "  "


def visible(text: str) -> str:
    """Return a text in one line whose characters all show: nothing in it gives orders to a terminal."""
    text = text.translate(_CONTROLS)
    return text if text.isprintable() else "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def visible_log(pieces: Iterator[bytes]) -> Iterator[str]:
    """Yield a log as text for a terminal: of the characters that don't show, only tab and line feed stay.

    A carriage return, with which a program overwrites its line, begins a new one.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    after_return = False
    for piece in pieces:
        text = decoder.decode(piece)
        if not text:
            continue
        if after_return and text[0] == "\n":
            text = text[1:]
        after_return = text.endswith("\r")
        yield _visible_lines(text)
    yield _visible_lines(decoder.decode(b"", final=True))


def _visible_lines(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isprintable():
        return text
    return "".join(character if character in "\n\t" else _shown(character) for character in text)


def width_of(text: str) -> int:
    """Return how many columns a text takes."""
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """Shorten a text to a number of columns."""
    if len(text) * 2 <= columns or width_of(text) <= columns:
        return text
    kept, used = [], 1
    for character in text:
        used += _width(character)
        if used > columns:
            break
        kept.append(character)
    return "".join(kept).rstrip() + _CUT


def table(header: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """Return the lines of a table.

    Args:
        header: the names of its columns.
        rows: their values, as they came.
        columns: how wide it may be, at the expense of its last column; `None`: as wide as it gets.
    """
    lines = [list(header), *([visible(value) for value in row] for row in rows)]
    widths = [max(width_of(line[index]) for line in lines) for index in range(len(header) - 1)]
    written = []
    for line in lines:
        padded = [value + " " * (width - width_of(value)) for value, width in zip(line, widths, strict=False)]
        text = _GAP.join([*padded, line[-1]]).rstrip()
        written.append(text if columns is None else cut(text, columns))
    return written


def duration(milliseconds: int) -> str:
    """Return a duration for people, such as `42s`, `3m05s`, `2h10m`, `4d3h`; empty if it is negative."""
    if milliseconds < 0:
        return ""
    minutes, seconds = divmod(milliseconds // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"
