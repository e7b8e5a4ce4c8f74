"""`app.cli.client.terminal` where nobody looks: a pipe gets text, and each state once."""

import io

from app.cli.client.terminal import Terminal
from slimfaas_jobs import Run, UnreachableError


def make_terminal() -> tuple[Terminal, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Terminal(out, err), out, err


def state(status: str, message: str = "", position: int = -1) -> Run:
    return Run(definition="report", id="abc", name="x", status=status, message=message, position_in_queue=position)


def test_results__text_of_the_service__is_text() -> None:
    terminal, out, err = make_terminal()
    terminal.print_text("report/\x1b[2Jabc\nmore")
    terminal.print_fields([("Message", "a\x1b]0;b\x07"), ("Run", "c")])
    terminal.print_table(("A", "B"), [("\x1b[1m", "\u202eb")])
    terminal.tell("no\x1b[2J\nlines stay")
    assert "\x1b" not in out.getvalue() + err.getvalue()
    assert out.getvalue().splitlines() == [
        r"report/\x1b[2Jabc more",
        r"Message  a\x1b]0;b\x07",
        "Run      c",
        "A        B",
        r"\x1b[1m  \u202eb",
    ]
    assert err.getvalue() == "no\\x1b[2J\nlines stay\n"


def test_states__are_told_once_for_each_change() -> None:
    terminal, _, err = make_terminal()
    for one in (
        state("Queued", "waits", 2),
        state("Queued", "waits", 2),
        state("Queued", "waits", 1),
        state("Running"),
    ):
        terminal.tell_state(one)
    terminal.tell_retry(UnreachableError("it broke\nsomehow"), 1.0)
    terminal.settle()
    assert err.getvalue().splitlines() == [
        "report/abc  Queued  position 2, waits",
        "report/abc  Queued  position 1, waits",
        "report/abc  Running",
        "trying again: it broke",
    ]
