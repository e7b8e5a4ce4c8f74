"""Line numbers in JSON texts."""

from functools import lru_cache

import yaml


def find_line(document: str, pointer: str) -> int:
    """Return the line of a part of a JSON text, or of the nearest enclosing part that exists.

    The text is parsed as YAML, whose parser keeps positions. For a text that is not YAML the result is 0.

    Args:
        document: the text.
        pointer: the part, as a JSON pointer (RFC 6901).

    Returns:
        The line, from 0.
    """
    node, line = _compose(document), 0
    for escaped in pointer.split("/")[1:]:
        step = escaped.replace("~1", "/").replace("~0", "~")
        inner = None
        if isinstance(node, yaml.MappingNode):
            inner = next((pair for pair in node.value if pair[0].value == step), None)
        elif isinstance(node, yaml.SequenceNode) and step.isdecimal() and int(step) < len(node.value):
            inner = (node.value[int(step)],) * 2
        if inner is None:
            break
        line, node = inner[0].start_mark.line, inner[1]
    return line


@lru_cache(maxsize=1)  # callers ask for all faults of one document in a row
def _compose(document: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(document, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return None
    return node
