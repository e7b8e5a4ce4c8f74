"""The program behind the image `axaguildev/fibonacci-batch`."""

import pytest

from devcluster.node.programs.fibonacci import LIMIT, fibonacci, main


@pytest.mark.parametrize(("index", "number"), [(0, 0), (1, 1), (2, 1), (10, 55), (42, 267914296)])
def test_its_numbers(index: int, number: int) -> None:
    """Fibonacci(0) is 0, as usual."""
    assert fibonacci(index) == number


def test_it_prints_the_number_of_its_first_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """Further arguments, which the example of the documentation gives, are ignored."""
    assert main(["42", "43"]) == 0
    assert capsys.readouterr() == ("267914296\n", "")


def test_it_prints_a_large_number_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's own limit on digits doesn't show."""
    assert main([str(LIMIT)]) == 0
    assert len(capsys.readouterr().out) == 20_900


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [([], "is missing"), (["x"], "'x'"), (["-1"], "'-1'"), (["4.2"], "'4.2'"), ([str(LIMIT + 1)], str(LIMIT + 1))],
)
def test_it_refuses_what_is_no_index(arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A clear message on standard error, nothing on standard output, exit code 2."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fibonacci: ")
    assert fault in err
