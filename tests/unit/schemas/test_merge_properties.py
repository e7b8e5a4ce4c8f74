"""`schemas.merge`, for any definition and any request: no run exceeds the definition, and values are applied exactly.

The tests compute the limits with rational arithmetic and regular expressions, not with the code under test.
"""

import json
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.configuration import parse_configuration
from schemas.definition import Definition, Variable
from schemas.faults import Refused
from schemas.merge import RunSpec, merge
from tests.unit.schemas.parsing import parse_request

MILLI, MICRO = Fraction(1, 10**3), Fraction(1, 10**6)
FACTORS: dict[str, int | Fraction] = {"": 1, "m": MILLI, "u": MICRO, "k": 1000, "M": 10**6, "Ki": 1024, "Mi": 2**20}
RESOURCES = ["cpu", "memory", "nvidia.com/gpu"]
UNLIMITED_BY_ZERO = ["cpu", "memory"]
QUANTITY = re.compile(r"([0-9.]+)(?:([eE][+-]?[0-9]+)|([a-zA-Z]*))")


def amount(text: str) -> Fraction:
    """The amount of a quantity that the strategies below make."""
    match = QUANTITY.fullmatch(text)
    assert match
    return Fraction(match[1] + (match[2] or "")) * FACTORS[match[3] or ""]


def is_whole(resource: str, text: str) -> bool:
    """Whether an amount is no part of a byte."""
    return resource != "memory" or amount(text).denominator == 1


QUANTITIES = st.one_of(
    st.builds("{}{}".format, st.integers(0, 3), st.sampled_from(sorted(FACTORS))),
    st.builds("{}.{}{}".format, st.integers(0, 2), st.sampled_from(["0", "5", "25"]), st.sampled_from(["", "k", "Ki"])),
    st.sampled_from(["1e3", "1E3", "1024", "1e-3", "1000", "1000m", "0"]),
)
IMAGES = st.builds(
    "{}{}".format,
    st.sampled_from(["app", "team/app", "team/tool", "evil.com/team/app"]),
    st.sampled_from(["", ":1", ":2"]),
)
PATTERNS = st.lists(IMAGES | st.sampled_from(["*", "*:*", "team/*", "team/*:*", "*/app:1", "team/app:*"]), max_size=3)
NAMES = st.sampled_from(["A", "B", "C", "TOKEN"])
TEXTS = st.text(max_size=5).filter(lambda text: "\0" not in text) | st.sampled_from(["$(TOKEN)", "$$(A)", ""])
OVERRIDABLE = ["Args", "Image", "DependsOn", "Resources", "Environments", "BackoffLimit", "RestartPolicy"]
WORKLOADS = st.lists(st.sampled_from(["db", "cache", "a.b"]), max_size=3, unique=True)


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """Any definition, from a configuration."""
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for resource in RESOURCES:
        low, high = sorted(draw(st.tuples(QUANTITIES, QUANTITIES)), key=amount)
        if draw(st.booleans()) and is_whole(resource, low):
            requests[resource] = low
        if draw(st.booleans()) and is_whole(resource, high) and (amount(high) or resource not in UNLIMITED_BY_ZERO):
            limits[resource] = high
    variables = st.dictionaries(
        NAMES, TEXTS.map(lambda text: {"Value": text}) | st.just({"SecretRef": {"Name": "api", "Key": "token"}})
    )
    entry: dict[str, Any] = {
        "Image": draw(IMAGES),
        "ImagesWhitelist": draw(PATTERNS),
        "Resources": {"Requests": requests, "Limits": limits},
        "DependsOn": draw(WORKLOADS),
        "Environments": [{"Name": name, **value} for name, value in draw(variables).items()],
        **draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "BackoffLimit": st.integers(0, 5),
                    "TimeoutSeconds": st.integers(1, 5),
                    "PendingTimeoutSeconds": st.integers(1, 5),
                    "QueueTimeoutSeconds": st.integers(1, 5),
                    "EnvironmentsWhitelist": st.lists(
                        st.sampled_from(["A", "B", "*", "T*", "PATH", "P*"]), max_size=3, unique=True
                    ),
                    "Overridable": st.lists(st.sampled_from(OVERRIDABLE), unique=True),
                    "ServiceAccountName": st.just("reporter"),
                    "TtlSecondsAfterFinished": st.integers(0, 5),
                    "RestartPolicy": st.sampled_from(["Never", "OnFailure"]),
                    "Args": st.lists(TEXTS, max_size=2),
                    "Command": st.lists(TEXTS, min_size=1, max_size=2),
                },
            )
        ),
    }
    return parse_configuration(json.dumps({"Configurations": {"job": entry}}))["job"]


def write_variable(upper: bool, name: str, value: str) -> dict[str, str]:
    """A variable in either spelling."""
    return {"Name": name, "Value": value} if upper else {"name": name, "value": value}


def read_variable(entry: dict[str, str]) -> tuple[str, str]:
    """Its name and its value."""
    name, value = entry.values()
    return name, value


VARIABLES = st.lists(
    st.builds(
        write_variable,
        st.booleans(),
        NAMES | st.sampled_from(["NEW", "SLIMFAAS_JOB_ID", "SLIMFAAS_WS_URL", "PATH"]),
        TEXTS,
    ),
    max_size=3,
    unique_by=lambda entry: read_variable(entry)[0],
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "Args": st.lists(TEXTS, max_size=2),
        "Image": IMAGES,
        "DependsOn": WORKLOADS,
        "Resources": st.fixed_dictionaries(
            {},
            optional={
                "Requests": st.dictionaries(st.sampled_from(RESOURCES), QUANTITIES, max_size=2),
                "Limits": st.dictionaries(st.sampled_from(RESOURCES), QUANTITIES, max_size=2),
            },
        ),
        "Environments": VARIABLES,
        "BackoffLimit": st.integers(0, 9),
        "TimeoutSeconds": st.integers(1, 9),
        "PendingTimeoutSeconds": st.integers(1, 9),
        "QueueTimeoutSeconds": st.integers(1, 9),
        "TtlSecondsAfterFinished": st.integers(0, 9),
        "RestartPolicy": st.sampled_from(["Never", "OnFailure"]),
    },
)


def attempt(definition: Definition, body: dict[str, Any]) -> RunSpec | None:
    """The run, or `None` if it is refused."""
    try:
        return merge(definition, parse_request(json.dumps(body).encode()))
    except Refused:
        return None


def approved(image: str, definition: Definition) -> bool:
    """Whether the definition allows an image, by a regular expression for each pattern."""
    patterns = (re.escape(pattern).replace(r"\*", "[^/:@]*") for pattern in definition.images_whitelist)
    return image == definition.image or any(re.fullmatch(pattern, image) for pattern in patterns)


def settable(name: str, definition: Definition) -> bool:
    """Whether a request may set a variable."""
    holds_secret = definition.service_account_name or any(one.source for one in definition.environments)
    whitelist = definition.environments_whitelist
    steers = name == "PATH"  # the only such name of the strategies
    if name.startswith("SLIMFAAS_JOB_") or any(one.name == name and one.source for one in definition.environments):
        return False
    if whitelist is None:
        return not (holds_secret or steers)
    if steers:
        return name in whitelist
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name) for pattern in whitelist)


def overridable(body: dict[str, Any], definition: Definition) -> bool:
    """Whether a request may set all the fields that it sets."""
    empty = {"Environments": [], "Resources": {}}
    changed = {field for field, value in body.items() if field not in empty or value != empty[field]}
    if not any((body.get("Resources") or {}).values()):
        changed.discard("Resources")
    return definition.overridable is None or changed <= definition.overridable


def within(definition: Definition, body: dict[str, Any]) -> bool:
    """Whether a request of the strategy above is within the definition, rule by rule."""
    given_amounts = body.get("Resources", {})
    requests, limits = given_amounts.get("Requests", {}), given_amounts.get("Limits", {})
    effective_limits = {**definition.limits, **limits}
    return (
        approved(body.get("Image", definition.image), definition)
        and all(name in definition.requests for name in requests)
        and all(name in definition.limits for name in limits)
        and all(amount(text) <= amount(definition.requests[name]) for name, text in requests.items())
        and all(amount(text) <= amount(definition.limits[name]) for name, text in limits.items())
        and all(amount(text) or name not in UNLIMITED_BY_ZERO for name, text in limits.items())
        and all(is_whole(name, text) for name, text in (*requests.items(), *limits.items()))
        and all(amount(text) <= amount(effective_limits.get(name, text)) for name, text in requests.items())
        and body.get("TimeoutSeconds", 1) <= (definition.timeout_seconds or 2**31)
        and body.get("PendingTimeoutSeconds", 1) <= (definition.pending_timeout_seconds or 2**31)
        and body.get("QueueTimeoutSeconds", 1) <= (definition.queue_timeout_seconds or 2**31)
        and body.get("BackoffLimit", 0) <= (6 if definition.backoff_limit is None else definition.backoff_limit)
        and (
            definition.ttl_seconds_after_finished is None
            or body.get("TtlSecondsAfterFinished", 0) <= definition.ttl_seconds_after_finished
        )
        and all(settable(read_variable(entry)[0], definition) for entry in body.get("Environments", []))
        and overridable(body, definition)
    )


@given(definitions(), REQUESTS)
def test_merge__refuses_a_request_exactly_if_it_exceeds_the_definition(
    definition: Definition, body: dict[str, Any]
) -> None:
    assert (attempt(definition, body) is not None) == within(definition, body)


@given(definitions(), REQUESTS)
def test_merge__never_exceeds_the_definition(definition: Definition, body: dict[str, Any]) -> None:
    spec = attempt(definition, body)
    if spec is None:
        return
    assert spec.definition == definition.name
    assert spec.command == definition.command
    assert approved(spec.image, definition)
    assert spec.requests.keys() == definition.requests.keys()
    assert spec.limits.keys() == definition.limits.keys()
    assert all(amount(spec.requests[name]) <= amount(text) for name, text in definition.requests.items())
    assert all(amount(spec.limits[name]) <= amount(text) for name, text in definition.limits.items())
    assert all(
        amount(spec.requests[name]) <= amount(spec.limits[name]) for name in spec.requests.keys() & spec.limits.keys()
    )
    names = [variable.name for variable in spec.environments]
    assert len(names) == len(set(names))
    assert not any(name.startswith("SLIMFAAS_JOB_") for name in names)
    assert all(variable in spec.environments for variable in definition.environments if variable.source is not None)
    assert all(variable in definition.environments for variable in spec.environments if variable.source is not None)
    assert all(variable.literal for variable in spec.environments if variable not in definition.environments)


@given(definitions(), REQUESTS)
def test_merge__applies_accepted_values_exactly(definition: Definition, body: dict[str, Any]) -> None:
    spec = attempt(definition, body)
    if spec is None:
        return
    assert spec.args == (tuple(body["Args"]) if "Args" in body else definition.args)
    assert spec.literal_args == ("Args" in body)
    assert spec.image == body.get("Image", definition.image)
    assert spec.depends_on == tuple(body.get("DependsOn", definition.depends_on))
    assert spec.backoff_limit == body.get(
        "BackoffLimit", 1 if definition.backoff_limit is None else definition.backoff_limit
    )
    assert spec.ttl_seconds_after_finished == body.get("TtlSecondsAfterFinished", definition.ttl_seconds_after_finished)
    assert spec.timeout_seconds == body.get("TimeoutSeconds", definition.timeout_seconds)
    assert spec.pending_timeout_seconds == body.get("PendingTimeoutSeconds", definition.pending_timeout_seconds)
    assert spec.restart_policy == body.get("RestartPolicy", definition.restart_policy)

    resources = body.get("Resources", {})
    requests, limits = resources.get("Requests", {}), resources.get("Limits", {})
    assert spec.limits == {**definition.limits, **limits}
    for name, text in spec.requests.items():
        follows = name not in requests and name in limits and amount(definition.requests[name]) > amount(limits[name])
        assert text == (limits[name] if follows else requests.get(name, definition.requests[name]))

    given_values = dict(map(read_variable, body.get("Environments", [])))
    defined = {variable.name: variable for variable in definition.environments}
    given_variables = {name: Variable(name, value, literal=True) for name, value in given_values.items()}
    assert spec.environments == tuple((defined | given_variables).values())


@given(definitions())
def test_merge__accepts_the_definitions_own_values(definition: Definition) -> None:
    body: dict[str, Any] = {
        "Image": definition.image,
        "DependsOn": list(definition.depends_on),
        "Resources": {"Requests": dict(definition.requests), "Limits": dict(definition.limits)},
        "BackoffLimit": 1 if definition.backoff_limit is None else definition.backoff_limit,
        "RestartPolicy": definition.restart_policy,
    }

    definition = replace(definition, overridable=None)
    assert attempt(definition, body) == attempt(definition, {})
    assert attempt(definition, {}) is not None
