"""Record the commands in a terminal, as an animated SVG: `python -m tools.recording` writes docs/terminal.svg.

The embedded cluster and the service run as in `make dev`. The picture holds text, loads nothing, and stands still for
those who prefer that.
"""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from devcluster.launch import Processes, create_demo_dependency, find_free_port, write_demo_jobs

TARGET = Path(__file__).parents[1] / "docs" / "terminal.svg"
COLUMNS, ROWS = 80, 19
_CELL_WIDTH, _CELL_HEIGHT, _MARGIN = 8.4, 18, 12
_LONGEST_SECONDS, _SHORTEST_SECONDS, _READING_SECONDS, _LAST_SECONDS = 1.2, 0.08, 1.6, 5.0
_DEADLINE_SECONDS = 60.0
_COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "36": "#79c0ff"}
_PROMPT = "\x1b[36m$\x1b[0m "
_ORDER = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])")

SESSION: Sequence[tuple[str, str]] = (
    ("slimfaas-jobs run fibonacci --follow -- 42", ""),
    ("slimfaas-jobs status", ""),
    ("slimfaas-jobs run fibonacci --wait --body wait-for-database.json", "waits for database"),
    ("slimfaas-jobs list", ""),
    ("slimfaas-jobs cancel fibonacci --queued", ""),
)
"""Commands, each with the text after which Ctrl-C is pressed; empty: it ends by itself."""

Cell = tuple[str, str]
"""A character, and the number of its colour; empty: the usual one."""


@dataclass
class Screen:
    """As much of a terminal as the commands need: lines, colours, and a line that is written again."""

    lines: list[list[Cell]] = field(default_factory=lambda: [[]])
    column: int = 0
    colour: str = ""

    def write(self, text: str) -> None:
        """Carry out what a program has written."""
        at = 0
        while at < len(text):
            if order := _ORDER.match(text, at):
                self._obey(order[2], order[1])
                at = order.end()
                continue
            self._put(text[at])
            at += 1

    def _obey(self, order: str, numbers: str) -> None:
        if order == "m":
            self.colour = numbers if numbers in _COLOURS else ""
        elif order == "K":
            del self.lines[-1][self.column :]

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
            return
        if character == "\n" or self.column == COLUMNS:
            self.lines.append([])
            self.column = 0
        if character != "\n":
            line = self.lines[-1]
            line[self.column : self.column + 1] = [(character, self.colour)]
            self.column += 1

    def snapshot(self) -> tuple[tuple[Cell, ...], ...]:
        """Return the lines that show."""
        return tuple(tuple(line) for line in self.lines[-ROWS:])


Frame = tuple[float, tuple[tuple[Cell, ...], ...]]
"""How long a picture stands, in seconds, and its lines."""


def record(url: str, folder: Path) -> Iterator[Frame]:
    """Run the session, and yield what the terminal shows."""
    screen = Screen()
    for command, interrupted_after in SESSION:
        screen.write(_PROMPT)
        yield 0.6, screen.snapshot()
        for word in re.findall(r"\S+\s*", command):
            screen.write(word)
            yield 0.15, screen.snapshot()
        screen.write("\r\n")
        began = time.monotonic()
        for piece in _run(command, url, folder, interrupted_after):
            now = time.monotonic()
            yield min(now - began, _LONGEST_SECONDS), screen.snapshot()
            began = now
            screen.write(piece)
        if screen.column:
            screen.write("\r\n")
        yield _READING_SECONDS, screen.snapshot()
    screen.write(_PROMPT)
    yield _LAST_SECONDS, screen.snapshot()


def _run(command: str, url: str, folder: Path, interrupted_after: str) -> Iterator[str]:
    """Run a command in a terminal, and yield what it writes."""
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # noqa: TID251 - it inherits ours
        variables = {"PATH": path, "SLIMFAAS_URL": url, "TERM": "xterm-256color", "NO_PROXY": "*", "LANG": "C.UTF-8"}
        os.execve(shutil.which("sh") or "/bin/sh", ["sh", "-c", f"exec {command}"], variables)  # noqa: S606
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    deadline, written, is_interrupted = time.monotonic() + _DEADLINE_SECONDS, "", False
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1.0)[0]:
                continue
            try:
                piece = os.read(terminal, 65536).decode("utf-8", "replace")
            except OSError:  # Linux says so when the program has ended
                return
            written += piece
            yield piece
            if interrupted_after and interrupted_after in written and not is_interrupted:
                is_interrupted = True
                time.sleep(_READING_SECONDS)
                os.write(terminal, b"\x03")
        os.kill(process, signal.SIGKILL)
        raise TimeoutError(f"{command} did not end: {written}")
    finally:
        os.close(terminal)
        os.waitpid(process, 0)


def join_frames(frames: Sequence[Frame]) -> list[Frame]:
    """Join pictures that are equal or stand too shortly to be seen."""
    joined: list[Frame] = []
    for seconds, lines in frames:
        if joined and (joined[-1][1] == lines or joined[-1][0] < _SHORTEST_SECONDS):
            joined[-1] = (joined[-1][0] + seconds, lines)
        else:
            joined.append((seconds, lines))
    return joined


def draw(frames: Sequence[Frame]) -> str:
    """Return an SVG that shows the pictures one after the other: a film of them moves behind a window."""
    width = COLUMNS * _CELL_WIDTH + 2 * _MARGIN
    height = ROWS * _CELL_HEIGHT + 2 * _MARGIN
    total = sum(seconds for seconds, _ in frames)
    steps, films, began = [], [], 0.0
    for index, (seconds, lines) in enumerate(frames):
        steps.append(f"{began / total * 100:.2f}%{{transform:translateX({-index * width:.0f}px)}}")
        began += seconds
        texts = "".join(_draw_line(number, line) for number, line in enumerate(lines) if line)
        films.append(f'<g transform="translate({index * width + _MARGIN:.0f},{_MARGIN})">{texts}</g>')
    last = -(len(frames) - 1) * width
    size = f'viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}"'
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">
<title>slimfaas-jobs in a terminal: a run is followed, another one waits, is left with Ctrl-C, and cancelled</title>
<style>
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#e6edf3;white-space:pre}}
.film{{animation:play {total:.1f}s step-end infinite}}
@media (prefers-reduced-motion:reduce){{.film{{animation:none;transform:translateX({last:.0f}px)}}}}
{"".join(f".c{number}{{fill:{colour}}}" for number, colour in _COLOURS.items())}
@keyframes play{{{"".join(steps)}}}
</style>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<g class="film">
{chr(10).join(films)}
</g>
</svg>
"""


def _draw_line(number: int, line: Sequence[Cell]) -> str:
    """Return the text of a line, in pieces of one colour."""
    pieces: list[tuple[str, str]] = []
    for character, colour in line:
        if pieces and pieces[-1][1] == colour:
            pieces[-1] = (pieces[-1][0] + character, colour)
        else:
            pieces.append((character, colour))
    spans = "".join(
        f'<tspan class="c{colour}">{escape(text)}</tspan>' if colour else escape(text) for text, colour in pieces
    )
    return f'<text xml:space="preserve" y="{(number + 1) * _CELL_HEIGHT - 5}">{spans}</text>'


def main() -> None:
    """Start everything, record, and write the file."""
    with Processes() as processes, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "wait-for-database.json").write_text('{"Args": ["1"], "DependsOn": ["database"]}', "utf-8")
        kubeconfig = processes.start_cluster()
        url = processes.start_service(kubeconfig, find_free_port(), write_demo_jobs(processes.folder))
        create_demo_dependency(kubeconfig)
        frames = join_frames(list(record(url, Path(folder))))
    TARGET.write_text(draw(frames), "utf-8")
    print(f"{TARGET}: {len(frames)} pictures, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
