"""`schemas.images`: image references and patterns."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.images import is_allowed, is_image, is_image_pattern, matches, split_tag

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
def test_is_image__accepts_image_references(image: str) -> None:
    """Registry, tag and digest are optional."""
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
def test_is_image__refuses_other_texts(image: str) -> None:
    """Spaces, line feeds, upper-case paths, schemes, wildcards, characters beyond ASCII."""
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
def test_matches__keeps_a_star_within_its_segment_tag_or_digest(pattern: str, image: str, approved: bool) -> None:
    assert matches(pattern, image) is approved


@given(st.lists(st.tuples(PATTERN_PIECES, PIECES, SEPARATORS), min_size=1, max_size=3))
def test_matches__agrees_with_a_regular_expression_per_segment(pieces: list[tuple[str, str, str]]) -> None:
    pattern = "".join(piece + separators[0] for piece, _, separators in pieces)
    image = "".join(piece + separators[1] for _, piece, separators in pieces)
    expected = re.fullmatch(re.escape(pattern).replace(r"\*", "[^/:@]*"), image) is not None

    assert matches(pattern, image) is expected


@given(st.text("ab./:@", max_size=12), st.data())
def test_matches__accepts_an_image_with_any_part_of_a_segment_replaced_by_a_star(
    image: str, data: st.DataObject
) -> None:
    segments = re.split(r"([/:@])", image)
    index = data.draw(st.integers(0, (len(segments) - 1) // 2)) * 2
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(segments[index]))] * 2)))
    segments[index] = segments[index][:start] + "*" + segments[index][end:]

    assert matches("".join(segments), image)


@given(st.text(max_size=40))
def test_matches__accepts_only_the_same_image_without_a_star(text: str) -> None:
    if is_image(text):
        assert is_image_pattern(text)
        assert matches(text, text)
        assert not matches(text, text + "x")


@pytest.mark.parametrize(
    "pattern", ["", " app:*", "app:*\n", "a b", "app:{1,2}", "app:1.?", "^app$", "äpp:*", "a" * 513]
)
def test_is_image_pattern__refuses_patterns_that_no_image_can_match(pattern: str) -> None:
    """Other wildcards, spaces, characters beyond ASCII."""
    assert not is_image_pattern(pattern)


@pytest.mark.parametrize(
    ("text", "repository"),
    [
        ("app", "app"),
        ("app:1", "app"),
        ("localhost:5000/app", "localhost:5000/app"),
        ("localhost:5000/app:*@sha256:0", "localhost:5000/app"),
        ("app@sha256:0", "app"),
    ],
)
def test_split_tag__splits_at_the_tag_or_digest(text: str, repository: str) -> None:
    assert split_tag(text) == (repository, text.removeprefix(repository))


def test_is_allowed__always_accepts_the_definitions_own_image() -> None:
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
def test_is_image__takes_linear_time(image: str) -> None:
    """No catastrophic backtracking, which would take minutes of processor time."""
    started = time.thread_time()

    assert not is_image(image)
    assert time.thread_time() - started < 5


def test_matches__takes_linear_time_with_many_stars() -> None:
    started = time.thread_time()

    assert not matches("*a" * 255 + "*b", "a" * 512)
    assert time.thread_time() - started < 5


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
