"""What the description says about a route beyond the route itself. Each view has it in a `@describe` decorator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from marshmallow import Schema

_View = TypeVar("_View", bound=Callable[..., Any])

_ATTRIBUTE = "operation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A request parameter.

    Attributes:
        name: its name.
        location: where it is sent.
        text: what it means.
        schema: the JSON Schema of its value.
        example: an example value; `None` if no example helps.
        required: whether it is mandatory; path parameters always are.
    """

    name: str
    location: Literal["path", "query", "header"]
    text: str
    schema: Mapping[str, Any]
    example: Any = None
    required: bool = False

    def document(self) -> dict[str, Any]:
        """Return the OpenAPI Parameter Object."""
        document: dict[str, Any] = {
            "name": self.name,
            "in": self.location,
            "description": self.text,
            "required": self.required or self.location == "path",
            "schema": dict(self.schema),
        }
        return document if self.example is None else document | {"example": self.example}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A response header.

    Attributes:
        text: what it means.
        example: an example value.
        always: whether every response of this status has it.
    """

    text: str
    example: str
    always: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An operation that can follow a response.

    Attributes:
        operation: the endpoint of that operation, which is also its operationId.
        parameters: its parameters by name, as OpenAPI runtime expressions.
    """

    operation: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessResponse:
    """A response that is not a problem document.

    Attributes:
        text: when it is sent.
        status: its HTTP status.
        schema: the schema of its JSON body; `None` if the body is not JSON or there is no body.
        alternative: another schema that its JSON body may have.
        many: whether the body is a list of such objects.
        content_type: the content type of a body without a schema; empty if there is no body.
        example: what the schema dumps as the example, or the text of a body that is not JSON.
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
    """An operation of the API.

    Attributes:
        tag: the group that it belongs to.
        summary: what it does, in a few words.
        text: what else a caller needs to know, as Markdown.
        successes: the responses without an error.
        errors: an example of each error that it can raise; `app.api.problems` makes problem documents of them.
        parameters: its query and header parameters; the path's follow from the route (`parameters.path_parameter`).
        body: the schema of the request body; `None` if a body is ignored.
        body_examples: example bodies by name.
        body_required: whether a request without a body is refused.
        body_type: the media type of the body.
        requires_access: whether the caller needs access to a definition (`app.api.access_control`).
        varies_by_caller: whether the response depends on the caller, though every caller gets one.
    """

    tag: str
    summary: str
    text: str = ""
    successes: tuple[SuccessResponse, ...]
    errors: tuple[Exception, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: type[Schema] | None = None
    body_examples: Mapping[str, Any] = field(default_factory=dict)
    body_required: bool = False
    body_type: str = "application/json"
    requires_access: bool = False
    varies_by_caller: bool = False


def describe(operation: Operation) -> Callable[[_View], _View]:
    """Attach a description to a view. The decorator goes below those that add the routes."""

    def attach(view: _View) -> _View:
        view.__dict__[_ATTRIBUTE] = operation
        return view

    return attach


def get_operation(view: Callable[..., Any]) -> Operation:
    """Return the description of a view.

    Raises:
        LookupError: the view has none.
    """
    operation = getattr(view, _ATTRIBUTE, None)
    if not isinstance(operation, Operation):
        raise LookupError(f"{view.__module__}.{view.__qualname__} has no description: decorate it with @describe(...)")
    return operation
