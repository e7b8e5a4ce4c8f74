"""Generate the tables of docs/configuration.md: `python -m tools.reference`.

A table of fields is between `<!-- fields: NAME -->` and `<!-- end -->`, where NAME is one of the `$defs` of the JSON
Schema, or a path of properties below one. The table of `schemas/steering.py` is between `<!-- steering -->` and
`<!-- end -->`. A test fails if a table is out of date.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from schemas.configuration import load_schema
from schemas.steering import STEERING_GROUPS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

_TABLE = re.compile(r"(?P<begin><!-- fields: (?P<name>[\w/]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)

_STEERING = re.compile(r"(?P<begin><!-- steering -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def main() -> int:
    """Update the page; returns the exit code."""
    PAGE.write_text(write_tables(PAGE.read_text("utf-8")), "utf-8")
    return 0


def write_tables(page: str) -> str:
    """Return the page with its tables generated anew.

    Args:
        page: Markdown with the marks.

    Raises:
        KeyError: the schema lacks what a mark names.
    """
    definitions = load_schema()["$defs"]
    page = _STEERING.sub(lambda mark: f"{mark['begin']}{_steering_table()}{mark['end']}", page)
    return _TABLE.sub(lambda mark: f"{mark['begin']}{_table(definitions, mark['name'])}{mark['end']}", page)


def _steering_table() -> str:
    rows = []
    for group in STEERING_GROUPS:
        names = ", ".join(f"`{pattern}`" for pattern in group.patterns)
        how = " (in upper or lower case)" if group.ignores_case else ""
        if group.spelled_freely:
            how = " (in any case, and with dots or dashes instead of underscores)"
        rows.append(f"| {group.programs} | {names}{how} |")
    return "\n".join(["| programs | variables |", "| --- | --- |", *rows, ""])


def _table(definitions: dict[str, Any], name: str) -> str:
    first, *path = name.split("/")
    part = definitions[first]
    for step in path:
        part = _resolve(definitions, part["properties"][step])
    rows = [
        _row(definitions, field, declared, is_required=field in part.get("required", ()))
        for field, declared in part["properties"].items()
    ]
    return "\n".join(["| field | type | default | what it is |", "| --- | --- | --- | --- |", *rows, ""])


def _resolve(definitions: dict[str, Any], declared: dict[str, Any]) -> dict[str, Any]:
    """Return a property together with what its `$ref` refers to."""
    reference = declared.get("$ref")
    return {**definitions[reference.removeprefix("#/$defs/")], **declared} if reference else declared


def _row(definitions: dict[str, Any], field: str, declared: dict[str, Any], *, is_required: bool) -> str:
    shown = _resolve(definitions, declared)
    default = "required" if is_required else f"`{json.dumps(shown['default'])}`" if "default" in shown else ""
    example = f"Example: `{json.dumps(shown['examples'][0], ensure_ascii=False)}`"
    cells = (f"`{field}`", _type(definitions, shown), default, f"{_plain(shown['description'])} {example}")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """Escape Markdown's special characters."""
    return re.sub(r"([*<>\[\]])", r"\\\1", text)


def _type(definitions: dict[str, Any], shown: dict[str, Any]) -> str:
    """Return the type in words: `list of strings`, `integer, at least 1`."""
    if "enum" in shown:
        return ", ".join(f"`{json.dumps(value)}`" for value in shown["enum"])
    declared = shown["type"]
    kind, *others = declared if isinstance(declared, list) else [declared]
    alternatives = "".join(f" or {other}" for other in others)
    if kind == "array":
        items = _resolve(definitions, shown["items"])
        inner = items.get("type", "string")
        return f"list of {inner}s{alternatives}" + (", none twice" if shown.get("uniqueItems") else "")
    bounds = [f"{word} {shown[key]}" for key, word in (("minimum", "at least"), ("maximum", "at most")) if key in shown]
    return ", ".join([f"{kind}{alternatives}", *bounds])


if __name__ == "__main__":
    sys.exit(main())
