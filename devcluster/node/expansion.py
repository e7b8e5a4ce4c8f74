"""`$(NAME)` references in a container's env values, command and args.

The grammar is that of Kubernetes (`third_party/forked/golang/expansion`, and
https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/):
`$(NAME)` becomes the variable's value, `$$` becomes a literal `$`, and a reference to an undefined name is kept as it
is. Values are not expanded again.
"""

from collections.abc import Mapping


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace the references in a text."""
    parts: list[str] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0 and dollar + 1 < len(text):
        parts.append(text[position:dollar])
        following = text[dollar + 1]
        closer = text.find(")", dollar + 2) if following == "(" else -1
        if closer >= 0:
            name = text[dollar + 2 : closer]
            parts.append(variables.get(name, f"$({name})"))
            position = closer + 1
        else:
            parts.append("$" if following == "$" else "$" + following)
            position = dollar + 2
    return "".join(parts) + text[position:]
