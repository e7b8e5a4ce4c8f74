"""In which line of a JSON text a JSON pointer's place is."""

from functools import lru_cache

import yaml


def find_line(document: str, pointer: str) -> int:
    """Find a place in a JSON text, or of what isn't there, the nearest that contains it.

    JSON is read as YAML, whose reader remembers where it was; the few texts that it doesn't take have one place.

    Args:
        document: the text.
        pointer: RFC 6901.

    Returns:
        The line, counted from 0.
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


@lru_cache(maxsize=1)  # the faults of one document are told one after the other
def _compose(document: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(document, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return None
    return node
