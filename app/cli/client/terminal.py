"""What the commands print: results on standard output, everything else on standard error."""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from app.cli.client.environment import is_dumb, wants_colours
from app.cli.client.text import cut, duration, table, visible
from slimfaas_jobs.models import Run

_COLOURS = {
    "Succeeded": "32",
    "Running": "36",
    "Queued": "33",
    "Pending": "33",
    "Failed": "31",
    "ImagePullBackOff": "31",
}
_CLEAR_LINE = "\r\x1b[K"
_MINIMUM_COLUMNS = 20


class Terminal:
    """Prints, with colours and a line that changes in place only where a person looks.

    Args:
        out: for results.
        err: for everything else.
    """

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._err = sys.stderr if err is None else err
        self._has_line = False
        self._told = ""
        self._began = time.monotonic()

    @property
    def shows_output(self) -> bool:
        """Whether a person looks at the results, and not a program."""
        return self._out.isatty()

    def print_json(self, document: Any) -> None:
        """Print a document."""
        self.print(json.dumps(document, indent=2))

    def print_table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table. In a terminal it is as wide as that; in a pipe nothing is cut off."""
        lines = table(header, rows, self._columns() if self.shows_output else None)
        coloured = self.shows_output and wants_colours()
        for line in lines:
            self.print(_coloured(line) if coloured else line)

    def print_fields(self, fields: Sequence[tuple[str, str]]) -> None:
        """Print names with their values."""
        width = max(len(name) for name, _ in fields)
        for name, value in fields:
            line = f"{name:<{width}}  {visible(value)}"
            self.print(_coloured(line) if self.shows_output and wants_colours() and name == "Status" else line)

    def print_text(self, text: str) -> None:
        """Print a line of the result that may have text from the service in it."""
        self.print(visible(text))

    def print(self, line: str) -> None:
        """Print a line of the result as it is."""
        self.clear()
        print(line, file=self._out, flush=True)

    def write(self, text: str) -> None:
        """Print a part of the result as it is."""
        self.clear()
        self._out.write(text)
        self._out.flush()

    def write_bytes(self, piece: bytes) -> None:
        """Print a part of the result byte for byte."""
        self.clear()
        self._out.buffer.write(piece)
        self._out.buffer.flush()

    def tell(self, text: str) -> None:
        """Tell the person something."""
        self.clear()
        for line in text.splitlines():
            print(visible(line), file=self._err, flush=True)

    def tell_state(self, run: Run) -> None:
        """Show what a run does: in the line that changes, or as a line for each change."""
        place = f"position {run.position_in_queue}" if run.position_in_queue > 0 else ""
        why = run.message or run.reason
        text = "  ".join([f"{run.definition}/{run.id}", run.status, ", ".join(filter(None, (place, why)))]).rstrip()
        self._show(visible(text), duration(int((time.monotonic() - self._began) * 1000)))

    def tell_retry(self, error: Exception, seconds: float) -> None:
        """Show that a request is repeated."""
        self._show(visible(f"trying again: {str(error).splitlines()[0]}"), f"in {seconds:.0f}s")

    def end_typed_line(self) -> None:
        """Begin a new line behind the `^C` that a terminal shows."""
        if self._err.isatty() and not self._has_line:
            print(file=self._err, flush=True)

    def settle(self) -> None:
        """Keep the line that changes as it is."""
        if self._has_line:
            self._has_line = False
            print(file=self._err, flush=True)

    def clear(self) -> None:
        """Remove the line that changes."""
        if self._has_line:
            self._has_line = False
            self._err.write(_CLEAR_LINE)
            self._err.flush()

    def _show(self, text: str, elapsed: str) -> None:
        if self._err.isatty() and not is_dumb():
            line = cut(text, self._columns() - len(elapsed) - 3) + f"  {elapsed}"
            self._err.write(_CLEAR_LINE + (_coloured(line) if wants_colours() else line))
            self._err.flush()
            self._has_line = True
        elif text != self._told:
            print(text, file=self._err, flush=True)
        self._told = text

    def _columns(self) -> int:
        return max(_MINIMUM_COLUMNS, shutil.get_terminal_size().columns)


def _coloured(line: str) -> str:
    """Give the first word of a line that is a status its colour."""
    for word in line.split():
        if word in _COLOURS:
            before, _, after = line.partition(word)
            return f"{before}\x1b[{_COLOURS[word]}m{word}\x1b[0m{after}"
    return line
