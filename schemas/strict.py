"""Strict marshmallow fields and schemas: a value of another type is a fault, and is never converted."""

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
    """A schema in which an unknown field is a fault that names the nearest known field."""

    error_messages = _messages("must be an object")

    def handle_error(self, error: ValidationError, data: Any, *, many: bool, **kwargs: Any) -> None:
        """Replace marshmallow's message for an unknown field."""
        if isinstance(error.messages, dict) and isinstance(data, dict):
            known = [declared.data_key or name for name, declared in self.fields.items()]
            unknown = sorted(error.messages.keys() & data.keys() - set(known))
            error.messages.update({key: ["unknown field"] for key in unknown})
            # The search for the nearest field is slow, so make it only for the faults that are reported.
            error.messages.update({key: [unknown_field(key, known)] for key in unknown[: MAX_FAULTS + 1]})
