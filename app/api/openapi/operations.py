"""What the description says of a route and the route itself can't: written beside the view, kept with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from marshmallow import Schema

_View = TypeVar("_View", bound=Callable[..., Any])

_ATTRIBUTE = "operation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a call.

    Attributes:
        name: as it is sent.
        place: where it is sent.
        text: what it means.
        schema: JSON Schema of its value.
        example: a value; `None`: there is none that would tell anything.
        required: whether the call must have it, as it must have every parameter of its path.
    """

    name: str
    place: Literal["path", "query", "header"]
    text: str
    schema: Mapping[str, Any]
    example: Any = None
    required: bool = False

    def document(self) -> dict[str, Any]:
        """The OpenAPI Parameter Object."""
        document: dict[str, Any] = {
            "name": self.name,
            "in": self.place,
            "description": self.text,
            "required": self.required or self.place == "path",
            "schema": dict(self.schema),
        }
        return document if self.example is None else document | {"example": self.example}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header of an answer.

    Attributes:
        text: what it says.
        example: a value.
        always: whether every answer of this status has it.
    """

    text: str
    example: str
    always: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What an answer lets its reader call next.

    Attributes:
        operation: the endpoint of that call, which is its operationId, too.
        parameters: its parameters by name, as OpenAPI runtime expressions.
    """

    operation: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that is no problem.

    Attributes:
        text: when it is given.
        status: its HTTP status.
        schema: of its JSON; `None`: it isn't JSON, or has no body where `content_type` is empty, too.
        alternative: the schema that its JSON may be of instead.
        many: whether it is a list of them.
        content_type: of what isn't JSON.
        example: what the schema makes an example of, or the text of an answer that isn't JSON.
        headers: by name.
        links: by name.
    """

    text: str
    status: int = 200
    schema: type[Schema] | None = None
    alternative: type[Schema] | None = None
    many: bool = False
    content_type: str = ""
    example: Any = None
    headers: Mapping[str, Header] = field(default_factory=dict)
    links: Mapping[str, Link] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of the API.

    Attributes:
        tag: the group that it belongs to.
        summary: what it does, in a few words.
        text: what a caller has to know besides, Markdown.
        answers: what is answered when nothing is wrong.
        faults: what can be wrong, each as an example: `app.api.problems` makes problem documents of them.
        parameters: of query and headers; those of the path follow from the route (`parameters.of_path`).
        body: the schema of the request's body; `None`: a body is not looked at.
        bodies: examples of it by what they show.
        guarded: whether the caller has to be let in (`app.api.access_control`).
        personal: whether who calls makes a difference, though everybody is let in.
    """

    tag: str
    summary: str
    text: str = ""
    answers: tuple[Answer, ...]
    errors: tuple[Exception, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: type[Schema] | None = None
    bodies: Mapping[str, Any] = field(default_factory=dict)
    guarded: bool = False
    personal: bool = False


def describe(operation: Operation) -> Callable[[_View], _View]:
    """Describe a view; stands below the decorators that route to it."""

    def keep(view: _View) -> _View:
        view.__dict__[_ATTRIBUTE] = operation
        return view

    return keep


def operation_of(view: Callable[..., Any]) -> Operation:
    """What a view was described as.

    Raises:
        LookupError: nobody has described it.
    """
    operation = getattr(view, _ATTRIBUTE, None)
    if not isinstance(operation, Operation):
        raise LookupError(f"{view.__module__}.{view.__qualname__} has no description")
    return operation
