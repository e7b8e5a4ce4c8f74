"""The program behind the image `axaguildev/fibonacci-batch`."""

import pytest

from devcluster.node.programs.fibonacci import LIMIT, fibonacci, main


@pytest.mark.parametrize(("index", "number"), [(0, 0), (1, 1), (2, 1), (10, 55), (42, 267914296)])
def test_fibonacci__returns_the_number_of_an_index(index: int, number: int) -> None:
    """Fibonacci(0) is 0."""
    assert fibonacci(index) == number


def test_main__prints_the_number_of_its_first_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """It ignores the further arguments of the documentation's example."""
    assert main(["42", "43"]) == 0
    assert capsys.readouterr() == ("267914296\n", "")


def test_main__prints_a_large_number_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's limit on digits does not apply."""
    assert main([str(LIMIT)]) == 0
    assert len(capsys.readouterr().out) == 20_900


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "is missing"), (["x"], "'x'"), (["-1"], "'-1'"), (["4.2"], "'4.2'"), ([str(LIMIT + 1)], str(LIMIT + 1))],
)
def test_main__refuses_anything_but_an_index(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a message on standard error, nothing on standard output, and exit code 2."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fibonacci: ")
    assert message in err
