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
def test_expand__matches_the_documented_examples(text: str, expected: str) -> None:
    """Among others, those of Kubernetes' own tests."""
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
def test_expand__handles_each_part_independently(variables: dict[str, str], parts: list[tuple[str, str]]) -> None:
    """A text consists of plain parts, `$$` and references."""
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
def test_expand__keeps_everything_else(text: str) -> None:
    """It only replaces references and drops the second `$` of an escape."""
    result = expand(text, {})
    assert result.replace("$", "") == text.replace("$", "")
    assert expand(text.replace("$", "$$"), {"A": "x"}) == text
