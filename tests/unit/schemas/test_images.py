"""Image references, and the patterns that approve them."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.images import is_allowed, is_image, is_image_pattern, matches

DIGEST = "sha256:" + "0123456789abcdef" * 4
# Few letters, so that patterns and images meet often.
PIECES = st.text("ab", max_size=5)
PATTERN_PIECES = st.text("ab*", max_size=5)
SEPARATORS = st.sampled_from(["//", "//", "::", "@@", "/:", ":@", "@/"])


@pytest.mark.parametrize(
    "image",
    [
        "busybox",
        "busybox:1.36",
        "axaguildev/fibonacci-batch:latest",
        "registry.example.com/team/sub/app:v1.2.3-rc.1_x",
        "localhost:5000/app",
        "REGISTRY.example.com:443/app",
        "[::1]:5000/app:1",
        f"app@{DIGEST}",
        f"registry.example.com:5000/a/b:tag@{DIGEST}",
        "a__b/c--d/e.f_g",
        "app:" + "t" * 128,
    ],
)
def test_an_image_reference_is_one(image: str) -> None:
    """Registry, path, tag and digest, each optional but the path, by the grammar of the registries."""
    assert is_image(image)


@pytest.mark.parametrize(
    "image",
    [
        "",
        " ",
        "App",
        "app:",
        "app:latest\n",
        " app",
        "app ",
        "a b",
        "/app",
        "app/",
        "a//b",
        "a/../b",
        "-app",
        "app-",
        "a._b",
        "a___b",
        "http://registry/app",
        "app:tag:tag",
        "app:-tag",
        "app:" + "t" * 129,
        "app@sha256:abc",
        "app@" + DIGEST + "\n",
        "app:ta\x00g",
        "äpp",
        "app:tàg",
        "app:٣",
        "app*",
        "$(IMAGE)",
        "a" * 513,
    ],
)
def test_what_only_looks_like_an_image_is_refused(image: str) -> None:
    """Spaces, line feeds, upper-case paths, schemes, wildcards and letters beyond ASCII are no part of a reference."""
    assert not is_image(image)


@pytest.mark.parametrize(
    ("pattern", "image", "approved"),
    [
        ("app:*", "app:1.0.1", True),
        ("app:*", "app", False),
        ("app:*", f"app@{DIGEST}", False),
        ("app:*", f"app:1@{DIGEST}", False),
        ("app:*", "app:5000/evil", False),
        ("app:*", "evil/app:1", False),
        ("app", "app", True),
        ("app", "app:latest", False),
        ("team/*", "team/app", True),
        ("team/*", "team/sub/app", False),
        ("team/*", "team/app:1", False),
        ("team/*:*", "team/app:1", True),
        ("team/*:*", "team.evil.com/app:1", False),
        ("team/*:1.*", "team/app:1.2", True),
        ("team/*:1.*", "team/app:10", False),
        ("*", "busybox", True),
        ("*", "evil.com/busybox", False),
        ("*/*", "team/app", True),
        ("registry.example.com/*/app:v*-prod", "registry.example.com/team/app:v12-prod", True),
        ("registry.example.com/*/app:v*-prod", "registry.example.com/team/app:v12-test", False),
        ("registry.example.com/*/app:v*-prod", "registry.example.com.evil.com/team/app:v1-prod", False),
        ("registry.example.com/*", "registryXexample.com/app", False),
        ("localhost:5000/*:*", "localhost:5000/app:1", True),
        ("localhost:5000/*:*", "localhost:5001/app:1", False),
        ("app@sha256:*", f"app@{DIGEST}", True),
        ("app:v**1", "app:v1", True),
        ("app:*a*a", "app:a", False),
        ("app:a*a", "app:a", False),
        ("app:*ab*ab*", "app:ab", False),
        ("app:*ab*ba*", "app:aba", False),
        ("app:*ab*ba*", "app:abba", True),
        ("App:1", "app:1", False),
        ("app:A*", "app:a1", False),
    ],
)
def test_a_star_stays_within_its_segment_or_tag(pattern: str, image: str, approved: bool) -> None:
    """`*` never crosses `/`, `:` or `@`, and all else stands for itself."""
    assert matches(pattern, image) is approved


@given(st.lists(st.tuples(PATTERN_PIECES, PIECES, SEPARATORS), min_size=1, max_size=3))
def test_patterns_match_as_one_regular_expression_per_segment_does(pieces: list[tuple[str, str, str]]) -> None:
    """For any pattern and any text, the answer is that of the plain translation into a regular expression."""
    pattern = "".join(piece + separators[0] for piece, _, separators in pieces)
    image = "".join(piece + separators[1] for _, piece, separators in pieces)
    expected = re.fullmatch(re.escape(pattern).replace(r"\*", "[^/:@]*"), image) is not None

    assert matches(pattern, image) is expected


@given(st.text("ab./:@", max_size=12), st.data())
def test_replacing_characters_of_an_image_by_a_star_gives_a_pattern_that_matches_it(
    image: str, data: st.DataObject
) -> None:
    """Whatever run of characters within one segment a `*` takes the place of, the pattern still approves the image."""
    segments = re.split(r"([/:@])", image)
    index = data.draw(st.integers(0, (len(segments) - 1) // 2)) * 2
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(segments[index]))] * 2)))
    segments[index] = segments[index][:start] + "*" + segments[index][end:]

    assert matches("".join(segments), image)


@given(st.text(max_size=40))
def test_an_image_without_wildcards_is_a_pattern_of_itself_alone(text: str) -> None:
    """A whitelist of plain images approves exactly these."""
    if is_image(text):
        assert is_image_pattern(text)
        assert matches(text, text)
        assert not matches(text, text + "x")


@pytest.mark.parametrize(
    "pattern", ["", " app:*", "app:*\n", "a b", "app:{1,2}", "app:1.?", "^app$", "äpp:*", "a" * 513]
)
def test_a_pattern_that_no_image_could_match_is_refused(pattern: str) -> None:
    """Other wildcards than `*`, spaces and letters beyond ASCII are the author's mistake, and are told to him."""
    assert not is_image_pattern(pattern)


def test_the_definitions_own_image_is_allowed_whatever_the_whitelist() -> None:
    """With an empty whitelist it is the only one."""
    assert is_allowed("app:1", default="app:1", whitelist=())
    assert is_allowed("app:1", default="app:1", whitelist=("other:*",))
    assert not is_allowed("app:2", default="app:1", whitelist=())
    assert is_allowed("app:2", default="app:1", whitelist=("other:*", "app:*"))


@pytest.mark.parametrize(
    "image",
    [
        "a-" * 255 + "!",
        "a." * 255 + "!",
        "a__" * 170 + "!",
        "a/" * 255 + "!",
        "a" * 511 + "!",
        ("a-" * 20 + "a/") * 12 + "!",
    ],
    ids=lambda image: image[:6],
)
def test_no_image_takes_long_to_refuse(image: str) -> None:
    """The grammar is matched without endless backtracking."""
    started = time.perf_counter()

    assert not is_image(image)
    assert time.perf_counter() - started < 0.5


def test_no_pattern_takes_long_to_match() -> None:
    """Many stars over many candidates: each literal is searched once, forwards."""
    started = time.perf_counter()

    assert not matches("*a" * 255 + "*b", "a" * 512)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(("length", "accepted"), [(512, True), (513, False)])
def test_is_image__bounds_the_length_of_references_and_of_patterns(length: int, accepted: bool) -> None:
    """What is longer is refused before it is matched."""
    assert is_image("a" * length) is accepted
    assert is_image_pattern("a" * length) is accepted


@pytest.mark.parametrize(
    ("pattern", "image", "matching"),
    [("*a*b*", "xaba", True), ("*a*b*c", "abab-c", True), ("*b*a*b", "abb", False), ("a*a", "a", False)],
)
def test_matches__tries_the_first_occurrence_of_each_literal(pattern: str, image: str, matching: bool) -> None:
    """A later occurrence would leave too little for the literals that follow."""
    assert matches(pattern, image) is matching
