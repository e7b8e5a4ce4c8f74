"""Label and field selectors of lists and watches, parsed as the API server does.

See https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors and
`.../field-selectors/`; the label grammar and the messages are those of `k8s.io/apimachinery/pkg/labels`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from devcluster.errors import bad_request, quote
from devcluster.kinds import EVENT, JOB, NAMESPACE, NODE, POD, SECRET, SERVICE, Kind
from devcluster.objects import Object, metadata_of
from devcluster.validation.names import label_key_errors, label_value_errors

Selector = Callable[[Object], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|<|>|[^\s=!(),<>]+)")
_SYMBOLS = frozenset(("==", "!=", "=", "!", "(", ")", ",", "<", ">", ""))
_BINARY = ("=", "==", "!=", "in", "notin", ">", "<")
_SHOWN_BINARY = "in, notin, =, ==, !=, gt, lt"


@dataclass(frozen=True)
class Requirement:
    """One term: `operator` is in, notin, exists, !, > or <."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether the labels satisfy this term."""
        value = labels.get(self.key)
        match self.operator:
            case "exists":
                return value is not None
            case "!":
                return value is None
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case _:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        (bound,) = self.values
        try:
            return int(value) > int(bound) if self.operator == ">" else int(value) < int(bound)
        except ValueError:
            return False


def parse_labels(text: str) -> list[Requirement]:
    """Parse a `labelSelector`.

    Raises:
        ApiError: 400, with what was found and what was expected.
    """
    return list(_LabelParser(text).requirements())


class _LabelParser:
    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._tokens.append("")  # marks the end
        self._position = 0

    def requirements(self) -> Iterator[Requirement]:
        while self._peek():
            if self._peek() in _SYMBOLS - {"!"}:
                raise bad_request(f"found '{self._peek()}', expected: !, identifier, or 'end of string'")
            yield self._requirement()
            found = self._next()
            if found == "":
                return
            if found != ",":
                raise bad_request(f"found '{found}', expected: ',' or 'end of string'")
            if self._peek() in _SYMBOLS - {"!"}:
                raise bad_request(f"found '{self._peek()}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!"
        if negated:
            self._next()
        key = self._identifier("identifier")
        errors = label_key_errors(key)
        if errors:
            raise _unparsable(f"<nil>: Invalid value: {quote(key)}: {'; '.join(errors)}")
        if negated:
            return Requirement(key, "!")
        if self._peek() in ("", ","):
            return Requirement(key, "exists")
        operator = self._next()
        if operator not in _BINARY:
            raise _unparsable(f"found '{operator}', expected: {_SHOWN_BINARY}")
        values = self._value_set() if operator in ("in", "notin") else frozenset((self._exact_value(),))
        return self._checked(key, {"=": "in", "==": "in", "!=": "notin"}.get(operator, operator), values)

    def _checked(self, key: str, operator: str, values: frozenset[str]) -> Requirement:
        for index, value in enumerate(sorted(values)):
            if operator in "<>" and not re.fullmatch(r"[+-]?[0-9]+", value):
                detail = "for 'Gt', 'Lt' operators, the value must be an integer"
                raise _unparsable(f"values[{index}]: Invalid value: {quote(value)}: {detail}")
            errors = label_value_errors(value)
            if errors:
                raise _unparsable(f"values[{index}][{key}]: Invalid value: {quote(value)}: {'; '.join(errors)}")
        return Requirement(key, operator, values)

    def _value_set(self) -> frozenset[str]:
        found = self._next()
        if found != "(":
            raise _unparsable(f"found '{found}' expected: '('")
        values = [""]
        while (found := self._next()) != ")":
            if found == ",":
                values.append("")
            elif found in _SYMBOLS:
                expected = "',' or ')'" if values[-1] else "',', or identifier"
                raise _unparsable(f"found '{found}', expected: {expected}")
            elif values[-1]:
                raise _unparsable(f"found '{found}', expected: ',' or ')'")
            else:
                values[-1] = found
        return frozenset(values)

    def _exact_value(self) -> str:
        return "" if self._peek() in ("", ",") else self._identifier("identifier")

    def _identifier(self, expected: str) -> str:
        found = self._next()
        if found in _SYMBOLS:
            raise _unparsable(f"found '{found}', expected: {expected}")
        return found

    def _peek(self) -> str:
        return str(self._tokens[self._position])

    def _next(self) -> str:
        found = self._peek()
        self._position += 1
        return found


def _unparsable(message: str) -> Exception:
    return bad_request(f"unable to parse requirement: {message}")


def label_selector_matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Return whether labels match a `metav1.LabelSelector`; None matches nothing, an empty one matches all."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    names = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    return all(
        Requirement(term["key"], names[term["operator"]], frozenset(term.get("values") or ())).matches(labels)
        for term in selector.get("matchExpressions") or ()
    )


def format_label_selector(selector: Mapping[str, Any]) -> str:
    """Format a `metav1.LabelSelector` object as a `labelSelector` string, its terms sorted by key."""
    names = {"In": "in", "NotIn": "notin"}
    terms = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or ():
        key, values = term["key"], ",".join(sorted(term.get("values") or ()))
        texts = {"Exists": key, "DoesNotExist": f"!{key}"}
        terms.append((key, texts.get(term["operator"]) or f"{key} {names[term['operator']]} ({values})"))
    return ",".join(text for _, text in sorted(terms))


_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_SELECTABLE: dict[Kind, tuple[str, ...]] = {
    POD: ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
          "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"),
    EVENT: (*(f"involvedObject.{name}" for name in _INVOLVED), "reason", "reportingComponent", "source", "type"),
    JOB: ("status.successful",),
    NAMESPACE: ("status.phase",),
    NODE: ("spec.unschedulable",),
    SECRET: ("type",),
    SERVICE: ("spec.clusterIP", "spec.type"),
}  # fmt: skip


def parse_fields(kind: Kind, text: str) -> list[tuple[str, bool, str]]:
    """Parse a `fieldSelector` into terms: (field, whether it must be equal, value).

    Raises:
        ApiError: 400, malformed, or a field by which this kind cannot be selected.
    """
    terms = []
    for part in sorted(re.findall(r"(?:\\.|[^,\\])+", text)):
        found = re.match(r"(.*?)(!=|==|=)(.*)", part, re.DOTALL)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = found.groups()
        _check_field(kind, field)
        terms.append((field, operator != "!=", _unescape(value)))
    return terms


def _unescape(value: str) -> str:
    if re.search(r"(?:^|[^\\])(?:\\\\)*=", value):
        raise bad_request("invalid field selector: unescaped character in value: 61")
    if faulty := re.search(r"\\([^\\,=]|$)", value.replace("\\\\", "")):
        raise bad_request(f"invalid field selector: invalid escape sequence: {faulty.group()}")
    return re.sub(r"\\(.)", r"\1", value)


def _check_field(kind: Kind, field: str) -> None:
    known = ("metadata.name", "metadata.namespace") if kind.namespaced else ("metadata.name",)
    extra = _SELECTABLE.get(kind, ())
    if field in known or field in extra or (field == "metadata.namespace" and not extra):
        return
    if kind is JOB:
        raise bad_request(f"field label {quote(field)} not supported for Job")
    if extra:
        raise bad_request(f"field label not supported: {field}")
    raise bad_request(f'{quote(field)} is not a known field selector: only "metadata.name", "metadata.namespace"')


def _field_value(kind: Kind, obj: Object, field: str) -> str:
    if field == "status.successful":  # the published name of status.succeeded
        return str(obj.get("status", {}).get("succeeded", 0))
    if kind is EVENT and field == "source":
        return str(obj.get("source", {}).get("component") or obj.get("reportingComponent", ""))
    found: Any = obj
    for name in field.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, bool) or (found is None and field in ("spec.hostNetwork", "spec.unschedulable")):
        return "true" if found else "false"
    return "" if found is None else str(found)


def build_selector(kind: Kind, labels: str | None, fields: str | None) -> Selector | None:
    """Combine both selectors of a request; None when both are empty.

    Raises:
        ApiError: 400, a selector is invalid.
    """
    requirements = parse_labels(labels) if labels else []
    terms = parse_fields(kind, fields) if fields else []
    if not requirements and not terms:
        return None

    def matches(obj: Object) -> bool:
        own_labels = metadata_of(obj).get("labels") or {}
        return all(requirement.matches(own_labels) for requirement in requirements) and all(
            (_field_value(kind, obj, field) == value) is equal for field, equal, value in terms
        )

    return matches
