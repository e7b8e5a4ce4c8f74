"""Parse a Dockerfile into stages and steps. Pure functions.

Only the instructions of this repository's Dockerfile are supported; any other one is an error.
https://docs.docker.com/reference/dockerfile/
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One instruction of a stage.

    Attributes:
        instruction: `RUN`, `COPY` or `WORKDIR`.
        arguments: for `RUN` the shell command, for `COPY` sources and destination, for `WORKDIR` the folder.
        stage: the source stage of `COPY --from`; empty for the build context.
    """

    instruction: str
    arguments: tuple[str, ...]
    stage: str = ""


@dataclass
class Stage:
    """A build stage, from one `FROM` to the next.

    Attributes:
        name: its name; empty if it has none.
        base: its base image.
        steps: the instructions that change its files, in order.
        environment: its variables.
        labels: its labels.
        user: `uid:gid`; empty for the base's user.
        ports: the exposed ports.
        entrypoint: the program and its arguments.
    """

    name: str
    base: str
    steps: list[Step] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    user: str = ""
    ports: list[int] = field(default_factory=list)
    entrypoint: tuple[str, ...] = ()


def read_dockerfile(text: str, base_environment: Mapping[str, str]) -> list[Stage]:
    """Read the stages of a Dockerfile.

    Args:
        text: the file's content.
        base_environment: the variables of the base image, which `ENV` may refer to.

    Raises:
        ValueError: an instruction, or an option of one, is not supported here.
    """
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in _instructions(text):
        instruction, _, rest = line.partition(" ")
        if instruction == "ARG" and not stages:
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif instruction == "FROM":
            base, _, name = _expand(rest, arguments).partition(" AS ")
            stages.append(Stage(name, base))
        elif stages:
            _add_instruction(stages[-1], instruction, rest, base_environment)
        else:
            raise ValueError(f"not supported before the first FROM: {line}")
    return stages


def _instructions(text: str) -> list[str]:
    """Return the instructions without comments, with continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return "\n".join(lines).replace("\\\n", "").splitlines()


def _add_instruction(stage: Stage, instruction: str, rest: str, base_environment: Mapping[str, str]) -> None:
    match instruction:
        case "RUN":
            stage.steps.append(Step("RUN", (rest,)))
        case "WORKDIR":
            stage.steps.append(Step("WORKDIR", (rest,)))
        case "COPY":
            words = shlex.split(rest)
            source = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
            if any(word.startswith("--") for word in words):
                raise ValueError(f"not supported: COPY {rest}")
            stage.steps.append(Step("COPY", tuple(words), source))
        case "ENV":
            known = {**base_environment, **stage.environment}
            stage.environment |= {name: _expand(value, known) for name, value in _pairs(rest)}
        case "LABEL":
            stage.labels |= dict(_pairs(rest))
        case "USER":
            stage.user = rest
        case "EXPOSE":
            stage.ports.append(int(rest))
        case "ENTRYPOINT":
            stage.entrypoint = tuple(json.loads(rest))
        case _:
            raise ValueError(f"not supported: {instruction} {rest}")


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = [word.partition("=") for word in shlex.split(text)]
    return [(name, value) for name, _, value in pairs]


def _expand(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: values[found[1] or found[2]], text)
