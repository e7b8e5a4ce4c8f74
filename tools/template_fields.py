"""Generate `schemas/job-template-fields.json`: `python -m tools.template_fields`.

The file says which fields Kubernetes' JobTemplateSpec has, and of which types, as the models of the official client do.
The models themselves take 28 MiB of memory and seconds to import, and the image does without them. A test fails if the
file is out of date.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent.parent / "schemas" / "job-template-fields.json"

_ROOT = "V1JobTemplateSpec"
_MODEL = re.compile(r"\b(?!List\b|Dict\b)[A-Z]\w+")


def main() -> int:
    """Write the file; returns the exit code."""
    FILE.write_text(write_fields(), "utf-8")
    return 0


def write_fields() -> str:
    """Return the content of the file: `{"release": ..., "types": {"<type>": {"<field>": "<type>"}}}`.

    A type is `str`, `int`, `float`, `bool`, `object` (anything), a name in `types`, `List[<type>]` or
    `Dict[str, <type>]`.
    """
    from kubernetes import client

    types: dict[str, dict[str, str]] = {}
    pending = [_ROOT]
    while pending:
        name = pending.pop()
        if name in types:
            continue
        model: Any = getattr(client, name)
        types[name] = {model.attribute_map[field]: kind for field, kind in sorted(model.openapi_types.items())}
        pending += [found for kind in types[name].values() for found in _MODEL.findall(kind)]
    release = ".".join(["1", client.__version__.split(".")[0]])
    document = {"release": release, "root": _ROOT, "types": dict(sorted(types.items()))}
    return json.dumps(document, indent=1, sort_keys=False).replace("datetime", "str") + "\n"


if __name__ == "__main__":
    sys.exit(main())
