"""`app.cli.client.text`: what a terminal gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.client.text import cut, duration, table, visible, visible_log, width_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größer, 東京", "plain, größer, 東京"),
        ("two\nlines\tand\ra return", "two lines and a return"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m and \u202eright to left", r"\x9b31m and \u202eright to left"),
        ("\ud800", r"\ud800"),
    ],
)
def test_visible__gives_no_orders_to_a_terminal(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_visible__any_text__is_one_printable_line(text: str) -> None:
    assert visible(text).isprintable()


@given(st.lists(st.binary()))
def test_visible_log__any_bytes__have_only_tabs_and_line_feeds_beside_text(pieces: list[bytes]) -> None:
    shown = "".join(visible_log(iter(pieces)))
    assert shown.replace("\n", "").replace("\t", "").isprintable()


@given(st.text(st.characters(exclude_categories=["C"])), st.integers(0, 20))
def test_visible_log__text_in_pieces__is_the_text(text: str, at: int) -> None:
    """Characters and line ends may be cut anywhere."""
    written = f"{text}\r\n{text}\n".encode()
    shown = "".join(visible_log(iter((written[:at], written[at:]))))
    assert shown == "".join("".join(visible_log(iter([written]))))
    assert shown.count("\n") == 2


def test_visible_log__return_alone__begins_a_line() -> None:
    """A program that overwrites its line: each state is shown."""
    assert "".join(visible_log(iter([b"10%\r", b"20%\r\n", b"done\n"]))) == "10%\n20%\ndone\n"


@given(st.text(st.characters(exclude_categories=["C"])), st.integers(1, 40))
def test_cut__never_takes_more_columns_than_there_are(text: str, columns: int) -> None:
    shortened = cut(text, columns)
    assert width_of(shortened) <= columns
    assert (shortened == text) == (width_of(text) <= columns)


def test_table__wide_characters__stay_in_their_columns() -> None:
    lines = table(("NAME", "WHY"), [("東京", "a"), ("x\x1b[2J", "b" * 100)], 20)
    assert lines == ["NAME      WHY", "東京      a", r"x\x1b[2J  bbbbbbbbb…"]
    assert all(width_of(line) <= 20 for line in lines)


def test_table__in_a_pipe__cuts_nothing_off() -> None:
    assert table(("A", "B"), [("a", "b" * 100)], None)[1] == f"a  {'b' * 100}"


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(-1, ""), (0, "0s"), (59_999, "59s"), (185_000, "3m05s"), (7_800_000, "2h10m"), (356_400_000, "4d3h")],
)
def test_duration__has_two_units(milliseconds: int, shown: str) -> None:
    assert duration(milliseconds) == shown
