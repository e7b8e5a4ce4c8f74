"""Patterns in which `*` stands for any characters, or none."""


def matches(pattern: str, text: str) -> bool:
    """Return whether the pattern matches the whole text; upper and lower case differ.

    The time is proportional to the lengths, for every pattern.
    """
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    *middle, last = others
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    # The first occurrence of each literal leaves the most text for the next ones, so no backtracking is needed.
    position, end = len(first), len(text) - len(last)
    for literal in middle:
        found = text.find(literal, position, end)
        if found < 0:
            return False
        position = found + len(literal)
    return True
