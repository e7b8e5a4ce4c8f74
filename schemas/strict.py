"""Strict marshmallow fields and schemas: a value of another type is a fault, and is never converted."""

from heapq import nsmallest
from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields

from schemas.faults import MAX_FAULTS, unknown_field

_INT32_MAX = 2**31 - 1


def _messages(must_be: str) -> dict[str, Any]:
    """Return a field's messages for a value of another type, for null and for no value."""
    return {
        "invalid": must_be,
        "type": must_be,
        "null": f"{must_be}, not null",
        "required": "required, but missing",
    }


class Text(fields.String):
    """A string."""

    default_error_messages = _messages("must be a string")
    json_schema: ClassVar = {"pattern": r"^[^\u0000]*$"}  # `schemas.documents` refuses NUL characters


class List(fields.List[Any]):
    """A list. Its items are checked only until there are more faults than are reported."""

    default_error_messages = _messages("must be a list")

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        read, faulty = [], {}
        for index, item in enumerate(value):
            try:
                read.append(self.inner.deserialize(item, **kwargs))
            except ValidationError as error:
                faulty[index] = error.messages
                if len(faulty) > MAX_FAULTS:
                    break
        if faulty:
            raise ValidationError(faulty)
        return read


class Nested(fields.Nested):
    """An object with its own schema."""

    default_error_messages = _messages("must be an object")


class Count(fields.Field[int]):
    """An integer from 0 to 2^31 - 1, Kubernetes' int32. True, 1.0 and "1" are faults."""

    default_error_messages = _messages("must be an integer")
    minimum: ClassVar = 0
    json_schema: ClassVar = {"type": "integer", "minimum": minimum, "maximum": _INT32_MAX}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.make_error("invalid")
        if not self.minimum <= value <= _INT32_MAX:
            raise ValidationError(f"must be from {self.minimum} to {_INT32_MAX}")
        return value


class Seconds(Count):
    """A duration in whole seconds, at least 1."""

    minimum: ClassVar = 1
    json_schema: ClassVar = {**Count.json_schema, "minimum": minimum}


class Flag(fields.Field[bool]):
    """True or false. 1 and "true" are faults."""

    default_error_messages = _messages("must be true or false")
    json_schema: ClassVar = {"type": "boolean"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Amounts(fields.Field[dict[str, str]]):
    """Quantities by resource name, as strings: a parser before us could have rounded a number."""

    default_error_messages = _messages("must be an object of quantities by resource name")
    json_schema: ClassVar = {"type": "object", "additionalProperties": {"type": "string"}}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        wrong = {
            name: ['must be a quantity written as a string, like "500m"']
            for name, quantity in value.items()
            if not isinstance(quantity, str)
        }
        if wrong:
            raise ValidationError(wrong)
        return dict(value)


class StrictSchema(Schema):
    """A schema in which an unknown field is a fault that names the nearest known field.

    Of very many unknown fields only as many are faults as are reported.
    """

    error_messages = _messages("must be an object")

    def load(self, data: Any, **options: Any) -> Any:
        """Check a value and read it.

        Raises:
            ValidationError: it has faults. The error does not refer to marshmallow's frames, which refer to the error:
                such a cycle keeps the value and all faults in memory until the garbage collector finds it.
        """
        try:
            return super().load(self._without_most_unknown(data), **options)
        except ValidationError as error:
            raise error.with_traceback(None) from None

    def _without_most_unknown(self, data: Any) -> Any:
        """Leave out the unknown fields that are not reported: marshmallow would collect an error for each."""
        known = {declared.data_key or name for name, declared in self.fields.items()}
        if not isinstance(data, dict) or len(data) <= len(known) + MAX_FAULTS:
            return data
        reported = nsmallest(MAX_FAULTS + 1, data.keys() - known)
        return {key: data[key] for key in data if key in known} | {key: data[key] for key in reported}

    def handle_error(self, error: ValidationError, data: Any, *, many: bool, **kwargs: Any) -> None:
        """Replace marshmallow's message for an unknown field."""
        if isinstance(error.messages, dict) and isinstance(data, dict):
            known = [declared.data_key or name for name, declared in self.fields.items()]
            unknown = error.messages.keys() & data.keys() - set(known)
            error.messages.update({key: [unknown_field(key, known)] for key in unknown})
