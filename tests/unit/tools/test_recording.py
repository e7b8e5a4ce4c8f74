"""`tools.recording`: what a terminal shows, and the picture of it."""

from xml.etree import ElementTree

from tools.recording import COLUMNS, ROWS, Screen, draw, join_frames


def shown(screen: Screen) -> list[str]:
    return ["".join(character for character, _ in line) for line in screen.snapshot()]


def test_screen__line_that_is_written_again__shows_the_last_text_only() -> None:
    screen = Screen()
    screen.write("a\r\n\r\x1b[Kwaiting 1s\r\x1b[Kdone\r\nb")
    assert shown(screen) == ["a", "done", "b"]


def test_screen__long_lines_and_many_of_them__wraps_and_scrolls() -> None:
    screen = Screen()
    screen.write("x" * (COLUMNS + 1) + "".join(f"\r\n{number}" for number in range(ROWS)))
    assert shown(screen) == [str(number) for number in range(ROWS)]


def test_draw__text__is_text_and_keeps_its_colours() -> None:
    screen = Screen()
    screen.write("<b>&\x1b[32mgood\x1b[0m")
    root = ElementTree.fromstring(draw([(1.0, screen.snapshot())]))
    (line,) = root.iter("{http://www.w3.org/2000/svg}text")
    assert "".join(line.itertext()) == "<b>&good"
    assert [(span.text, span.get("class")) for span in line] == [("good", "c32")]


def test_join_frames__pictures_that_nobody_sees__are_left_out() -> None:
    one, two, three = ((("a", ""),),), ((("b", ""),),), ((("c", ""),),)
    assert join_frames([(1.0, one), (0.5, one), (0.01, two), (1.0, three)]) == [(1.5, one), (1.01, three)]
