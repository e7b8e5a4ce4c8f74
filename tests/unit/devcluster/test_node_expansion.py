"""`$(NAME)` references, against the documented grammar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster.node.expansion import expand

VARIABLES = {"A": "1", "B": "$(A)", "EMPTY": "", "a b": "spaced"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(A)z", "x1y1z"),
        ("$(B)", "$(A)"),
        ("$(EMPTY)", ""),
        ("$(a b)", "spaced"),
        ("$(NONE)", "$(NONE)"),
        ("$()", "$()"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$$", "$"),
        ("$", "$"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$($(A)", "$($(A)"),
        ("cost: 5$", "cost: 5$"),
        ("${A}", "${A}"),
    ],
)
def test_the_documented_cases(text: str, expected: str) -> None:
    """Those of Kubernetes' own table of examples, among others."""
    assert expand(text, VARIABLES) == expected


NAMES = st.text(st.characters(exclude_characters=")", exclude_categories=["Cs"]), max_size=5)
PLAIN = st.text(st.characters(exclude_characters="$", exclude_categories=["Cs"]), max_size=5)


@given(
    variables=st.dictionaries(NAMES, st.text(max_size=5), max_size=3),
    parts=st.lists(
        st.one_of(
            st.tuples(st.just("plain"), PLAIN),
            st.tuples(st.just("escape"), st.just("")),
            st.tuples(st.just("reference"), NAMES),
        ),
        max_size=8,
    ),
)
def test_any_text_of_the_grammar(variables: dict[str, str], parts: list[tuple[str, str]]) -> None:
    """A text is plain parts, `$$` and references; each has one meaning, whatever stands beside it."""
    written = {"plain": "{}", "escape": "$$", "reference": "$({})"}
    text = "".join(written[kind].replace("{}", content) for kind, content in parts)
    expected = ""
    for kind, content in parts:
        if kind == "reference":
            expected += variables.get(content, f"$({content})")
        else:
            expected += "$" if kind == "escape" else content
    assert expand(text, variables) == expected


@given(st.text(alphabet="$()A ", max_size=12))
def test_no_text_is_too_odd(text: str) -> None:
    """What isn't of the grammar stays; nothing is lost but the second `$` of an escape and what is replaced."""
    result = expand(text, {})
    assert result.replace("$", "") == text.replace("$", "")
    assert expand(text.replace("$", "$$"), {"A": "x"}) == text
