"""`schemas.request`: strict types, and all faults of a body at once."""

import gc
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.definition import Variable
from schemas.documents import NotJson
from schemas.faults import MAX_FAULTS, Fault, Refused
from schemas.request import Request, RequestSchema, read_request
from tests.unit.schemas.parsing import parse_request

INT32_MAX = 2**31 - 1
A_QUANTITY = 'must be a quantity written as a string, like "500m"'
NOT_A_VARIABLE = "not the name of an environment variable (printable ASCII characters without =)"
RESERVED = "names that begin with SLIMFAAS_JOB_ are set by the service"
REFERENCE = "a request can set literal values only; move the reference to the definition"
AN_AMOUNT = "must be an object of quantities by resource name"

EMPTY_B = Variable("B", "", literal=True)


def read(**fields: Any) -> Request:
    return parse_request(json.dumps(fields).encode())


def faults_of(body: bytes) -> list[tuple[str, str]]:
    """Every fault of a body that must have one."""
    with pytest.raises(Refused) as refused:
        parse_request(body)
    return [(fault.pointer, fault.message) for fault in refused.value.faults]


ACCEPTED: list[tuple[str, Any, str, Any]] = [
    ("Args", [], "args", ()),
    ("Args", ["$(A)", "", " x\n", "é\U0001f600"], "args", ("$(A)", "", " x\n", "é\U0001f600")),
    ("Image", "team/app:1", "image", "team/app:1"),
    ("DependsOn", [], "depends_on", ()),
    ("DependsOn", ["b", "a"], "depends_on", ("b", "a")),
    ("Resources", {}, "requests", {}),
    ("Resources", {"Requests": {"cpu": "0.10"}}, "requests", {"cpu": "0.10"}),
    ("Resources", {"Limits": {"cpu": "1e3m"}}, "limits", {"cpu": "1e3m"}),
    ("Environments", [], "environments", ()),
    ("Environments", [{"Name": "A", "Value": "$(B)"}], "environments", (Variable("A", "$(B)", literal=True),)),
    ("Environments", [{"name": "a.b-c", "value": ""}], "environments", (Variable("a.b-c", "", literal=True),)),
    ("Environments", [{"name": "A", "Value": " x\n"}], "environments", (Variable("A", " x\n", literal=True),)),
    *(
        ("Environments", [{"Name": name, "Value": "x"}], "environments", (Variable(name, "x", literal=True),))
        for name in ("Logging:LogLevel:Default", "1A", "A B", "..a", "$(A)", " ", "~")
    ),
    ("Environments", [{"Name": "B"}, {"name": "C"}], "environments", (EMPTY_B, Variable("C", "", literal=True))),
    (
        "Environments",
        [{"Name": "SLIMFAAS_WS_URL", "Value": "x"}],  # SlimFaas' own demo image reads it
        "environments",
        (Variable("SLIMFAAS_WS_URL", "x", literal=True),),
    ),
    ("Environments", None, "environments", ()),
    ("Resources", None, "limits", {}),
    ("DependsOn", None, "depends_on", None),
    ("Image", "", "image", None),
    ("BackoffLimit", 0, "backoff_limit", 0),
    ("BackoffLimit", INT32_MAX, "backoff_limit", INT32_MAX),
    ("TtlSecondsAfterFinished", 0, "ttl_seconds_after_finished", 0),
    ("TtlSecondsAfterFinished", INT32_MAX, "ttl_seconds_after_finished", INT32_MAX),
    ("TimeoutSeconds", 1, "timeout_seconds", 1),
    ("QueueTimeoutSeconds", 1, "queue_timeout_seconds", 1),
    ("PendingTimeoutSeconds", INT32_MAX, "pending_timeout_seconds", INT32_MAX),
    ("RestartPolicy", "Never", "restart_policy", "Never"),
    ("RestartPolicy", "OnFailure", "restart_policy", "OnFailure"),
]

REFUSED: list[tuple[str, Any, str, str]] = [
    ("Args", "42", "/Args", "must be a list"),
    ("Args", {"0": "42"}, "/Args", "must be a list"),
    ("Args", None, "/Args", "must be a list, not null"),
    ("Args", ["42", 43], "/Args/1", "must be a string"),
    ("Args", [None], "/Args/0", "must be a string, not null"),
    ("Args", [["42"]], "/Args/0", "must be a string"),
    ("Args", ["a\0"], "/Args/0", "contains a NUL character"),
    ("Args", ["\ud800"], "/Args/0", "contains half of a surrogate pair, which is not valid Unicode"),
    ("Image", 1, "/Image", "must be a string"),
    ("Image", None, "/Image", "must be a string, not null"),
    ("DependsOn", "a", "/DependsOn", "must be a list"),
    ("DependsOn", ["a", 1], "/DependsOn/1", "must be a string"),
    ("Resources", [], "/Resources", "must be an object"),
    ("Resources", {"requests": {}}, "/Resources/requests", "unknown field; did you mean Requests?"),
    ("Resources", {"_schema": 1}, "/Resources/_schema", "unknown field"),
    ("Resources", {"Requests": [1]}, "/Resources/Requests", AN_AMOUNT),
    ("Resources", {"Requests": None}, "/Resources/Requests", f"{AN_AMOUNT}, not null"),
    ("Resources", {"Requests": {"cpu": 1}}, "/Resources/Requests/cpu", A_QUANTITY),
    ("Resources", {"Limits": {"cpu": 0.5}}, "/Resources/Limits/cpu", A_QUANTITY),
    ("Resources", {"Limits": {"cpu": None}}, "/Resources/Limits/cpu", A_QUANTITY),
    ("Resources", {"Limits": {"a/b": []}}, "/Resources/Limits/a~1b", A_QUANTITY),
    ("Resources", {"Limits": {"_schema": 1}}, "/Resources/Limits/_schema", A_QUANTITY),
    ("Environments", {"A": "x"}, "/Environments", "must be a list"),
    ("Environments", ["A=x"], "/Environments/0", "must be an object"),
    ("Environments", [None], "/Environments/0", "must be an object, not null"),
    ("Environments", [{"Value": "x"}], "/Environments/0/Name", "required, but missing"),
    ("Environments", [{"Name": 1, "Value": "x"}], "/Environments/0/Name", "must be a string"),
    ("Environments", [{"name": 1, "value": "x"}], "/Environments/0/name", "must be a string"),
    ("Environments", [{"Name": "A", "Value": 5}], "/Environments/0/Value", "must be a string"),
    ("Environments", [{"Name": "A", "value": None}], "/Environments/0/value", "must be a string, not null"),
    ("Environments", [{"Name": "A", "name": "A", "Value": "x"}], "/Environments/0/name", "also given as Name"),
    ("Environments", [{"Name": "A", "value": "x", "Value": "x"}], "/Environments/0/value", "also given as Value"),
    ("Environments", [{"Name": "A", "Valeu": "x"}], "/Environments/0/Valeu", "unknown field; did you mean Value?"),
    ("Environments", [{"_schema": 1}], "/Environments/0/_schema", "unknown field"),
    *(
        ("Environments", [{"Name": name, "Value": "x"}], "/Environments/0/Name", NOT_A_VARIABLE)
        for name in ("", "A\n", "A\x7f", "A=x", "=", "É")
    ),
    ("Environments", [{"Name": "SLIMFAAS_JOB_", "Value": "x"}], "/Environments/0/Name", RESERVED),
    ("Environments", [{"Name": "SLIMFAAS_JOB_ID", "Value": "x"}], "/Environments/0/Name", RESERVED),
    ("Environments", [{"name": "SLIMFAAS_JOB_ID", "value": "x"}], "/Environments/0/name", RESERVED),
    *(
        (
            "Environments",
            [{"Name": "A", reference: {"Name": "a", "Key": "b"}}],
            f"/Environments/0/{reference}",
            REFERENCE,
        )
        for reference in ("SecretRef", "ConfigMapRef", "FieldRef", "ResourceFieldRef")
    ),
    ("Environments", [{"Name": "A", "Value": "x", "SecretRef": {}}], "/Environments/0/SecretRef", REFERENCE),
    (
        "Environments",
        [{"Name": "A", "valueFrom": {}}],
        "/Environments/0/valueFrom",
        "unknown field; did you mean Value?",
    ),
    *(
        (field, value, f"/{field}", message)
        for field, least in (
            ("BackoffLimit", 0),
            ("TtlSecondsAfterFinished", 0),
            ("TimeoutSeconds", 1),
            ("PendingTimeoutSeconds", 1),
        )
        for value, message in (
            ("1", "must be an integer"),
            (True, "must be an integer"),
            (1.0, "must be an integer"),
            ([], "must be an integer"),
            (None, "must be an integer, not null"),
            (least - 1, f"must be from {least} to {INT32_MAX}"),
            (INT32_MAX + 1, f"must be from {least} to {INT32_MAX}"),
            (10**4000, f"must be from {least} to {INT32_MAX}"),
        )
    ),
    ("RestartPolicy", "Always", "/RestartPolicy", "must be one of Never, OnFailure"),
    ("RestartPolicy", "never", "/RestartPolicy", "must be one of Never, OnFailure"),
    ("RestartPolicy", "Never\n", "/RestartPolicy", "must be one of Never, OnFailure"),
    ("RestartPolicy", None, "/RestartPolicy", "must be a string, not null"),
    ("RestartPolicy", ["Never"], "/RestartPolicy", "must be a string"),
]


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    ACCEPTED,
    ids=[f"{row[0]}-{index}" for index, row in enumerate(ACCEPTED)],
)
def test_read_request__sets_only_the_given_field(field: str, value: Any, attribute: str, expected: Any) -> None:
    assert read(**{field: value}) == Request(**{attribute: expected})


@pytest.mark.parametrize(
    ("field", "value", "pointer", "message"), REFUSED, ids=[f"{row[0]}-{index}" for index, row in enumerate(REFUSED)]
)
def test_read_request__reports_each_invalid_value_with_its_pointer(
    field: str, value: Any, pointer: str, message: str
) -> None:
    """The pointer has the name that the caller wrote."""
    found = faults_of(json.dumps({field: value}).encode())

    assert (pointer, message) in found
    assert not [other for other in found if other[0] == pointer and other[1] != message]


@pytest.mark.parametrize("body", [b"", b"{}", b" {}\n"])
def test_read_request__accepts_no_body_and_an_empty_object(body: bytes) -> None:
    assert parse_request(body) == Request()


@pytest.mark.parametrize("body", [b"null", b"[]", b'"Args"', b"1", b"true", b"[[]]"])
def test_read_request__refuses_json_that_is_not_an_object(body: bytes) -> None:
    assert faults_of(body) == [("", "must be a JSON object")]


@pytest.mark.parametrize(
    "body", [b" ", b"{", b"Args=42", b'{"Args": ["42"] # why\n}', b"[" * 60_000, b"\xff", b"1" * 9999]
)
def test_read_request__raises_not_json_for_malformed_json(body: bytes) -> None:
    with pytest.raises(NotJson):
        parse_request(body)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("args", "unknown field; did you mean Args?"),
        ("image", "unknown field; did you mean Image?"),
        ("dependsOn", "unknown field; did you mean DependsOn?"),
        ("Resource", "unknown field; did you mean Resources?"),
        ("Environment", "unknown field; did you mean Environments?"),
        ("backoffLimit", "unknown field; did you mean BackoffLimit?"),
        ("ttlSecondsAfterFinished", "unknown field; did you mean TtlSecondsAfterFinished?"),
        ("RestartPolcy", "unknown field; did you mean RestartPolicy?"),
        ("Command", "unknown field"),
        ("Visibility", "unknown field"),
        ("ImagesWhitelist", "unknown field"),
        ("ServiceAccountName", "unknown field"),
        ("SecurityContext", "unknown field"),
        ("_schema", "unknown field"),
        ("", "unknown field"),
    ],
)
def test_read_request__suggests_the_nearest_field_for_an_unknown_one(given: str, message: str) -> None:
    """Also for fields of definitions only, such as Command."""
    assert faults_of(json.dumps({given: []}).encode()) == [(f"/{given}", message)]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"Image": "a", "Image": "b"}', "/Image"),
        (b'{"Image": "a", "\\u0049mage": "a"}', "/Image"),
        (b'{"Resources": {"Limits": {"cpu": "1", "cpu": "9"}}}', "/Resources/Limits/cpu"),
        (b'{"Environments": [{"Name": "A", "Value": "x", "Value": "x"}]}', "/Environments/0/Value"),
    ],
)
def test_read_request__refuses_a_field_given_twice(body: bytes, pointer: str) -> None:
    """A proxy that reads the first and a server that reads the last would see different requests."""
    assert faults_of(body) == [(pointer, "given more than once")]


def test_read_request__reports_all_faults_at_once() -> None:
    """Types, unknown fields, ambiguous JSON and variables."""
    body = b"""{"Args": ["a", 1, "\\u0000"], "Image": 1, "image": "x", "BackoffLimit": "1", "BackoffLimit": true,
        "Resources": {"Requests": {"cpu": 1}, "Limit": {}},
        "Environments": [{"name": "SLIMFAAS_JOB_X", "value": 1, "more": 1}, {"Name": "A", "SecretRef": {}}]}"""

    assert [pointer for pointer, _ in faults_of(body)] == [
        "/Args/1",
        "/Args/2",
        "/BackoffLimit",
        "/BackoffLimit",
        "/Environments/0/more",
        "/Environments/0/name",
        "/Environments/0/value",
        "/Environments/1/SecretRef",
        "/Image",
        "/Resources/Limit",
        "/Resources/Requests/cpu",
        "/image",
    ]


def test_read_request__returns_the_fields_without_faults() -> None:
    """They are checked against the definition as well. A list with a fault is left out."""
    request, faults = read_request(
        b'{"Image": "a", "Args": [1, "x"], "BackoffLimit": "1",'
        b'"Resources": {"Requests": {"cpu": 1}, "Limits": {"m": "1"}}}'
    )

    assert request == Request(image="a", limits={"m": "1"})
    assert {fault.pointer for fault in faults} == {"/Args/0", "/BackoffLimit", "/Resources/Requests/cpu"}


REQUEST_KEYS = [str(declared.data_key) for declared in RequestSchema().fields.values()]
VARIABLE_KEYS = ["Name", "name", "Value", "value", "SecretRef", "FieldRef", "_schema"]
FIELDS = st.sampled_from([*REQUEST_KEYS, *VARIABLE_KEYS, "Requests", "Limits", "cpu", "Command"])
LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
)
JSON = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)
VARIABLES = st.lists(
    st.dictionaries(st.sampled_from(VARIABLE_KEYS), LEAF),
    max_size=3,
)
OBJECTS = st.dictionaries(FIELDS | st.text(max_size=4), JSON, max_size=5) | st.fixed_dictionaries(
    {"Environments": VARIABLES}, optional={"Resources": JSON, "Args": JSON}
)


def leads_somewhere(document: Any, pointer: str) -> bool:
    """Whether a JSON pointer leads to a value of the document, or to a missing member of an object there."""
    *steps, last = (step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])
    for step in steps:
        document = document[int(step)] if isinstance(document, list) else document[step]
    return isinstance(document, dict) or (isinstance(document, list) and int(last) < len(document))


def faults_if_any(body: bytes) -> tuple[Fault, ...] | None:
    """The faults of a body, or `None` if it is a request."""
    try:
        parse_request(body)
    except Refused as refused:
        return refused.faults
    except NotJson as error:
        return (Fault("", str(error)),)
    return None


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_read_request__returns_or_refuses_any_body(body: bytes) -> None:
    """No other exception is raised, and its text is valid UTF-8."""
    faults = faults_if_any(body)

    assert faults != ()
    repr(faults).encode()


@given(OBJECTS)
def test_read_request__refuses_any_object_with_valid_pointers(document: Any) -> None:
    """Each pointer leads into the body, and no fault is repeated."""
    faults = faults_if_any(json.dumps(document).encode()) or ()

    assert all(leads_somewhere(document, fault.pointer) for fault in faults)
    assert list(faults) == sorted(set(faults))


VALUE = "hunter2-correct-horse"


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                **{key: st.sampled_from(["A", "", "SLIMFAAS_A", f"A={VALUE}", 1, None]) for key in ("Name", "name")},
                **{
                    key: st.sampled_from([VALUE, VALUE + "\0", VALUE + "\ud800", [VALUE], {"Value": VALUE}, None])
                    for key in ("Value", "value", "Valeu", "SecretRef")
                },
            },
        )
        | st.just(f"A={VALUE}"),
        min_size=1,
        max_size=3,
    )
)
def test_read_request__never_repeats_the_value_of_a_variable(variables: list[Any]) -> None:
    with pytest.raises(Refused) as refused:
        parse_request(json.dumps({"Environments": variables, "Imagine": VALUE}).encode())

    assert VALUE not in str(refused.value)
    assert VALUE not in repr(refused.value.faults)


def test_read_request__refuses_truncated_json_without_quoting_it() -> None:
    body = json.dumps({"Environments": [{"Name": "A", "Value": VALUE}]}).encode()

    for end in range(1, len(body)):
        with pytest.raises(NotJson) as not_json:
            parse_request(body[:end])
        assert VALUE[:7] not in str(not_json.value)


def test_read_request__returns_faults_with_pointer_and_message() -> None:
    _, faults = read_request(b'{"Image": 1}')

    assert faults == [Fault("/Image", "must be a string")]


def test_read_request__bounds_the_text_of_faults() -> None:
    """Names that a client has made up may be long."""
    body = json.dumps({f"{number}" + "a" * 3000: 1 for number in range(20)}).encode()
    *told, more = faults_of(body)
    assert len(told) == 5
    assert more == ("", "there are more faults than these 5")
    [(pointer, message)] = faults_of(json.dumps({"a" * 60_000: 1}).encode())
    assert (pointer, "too long" in message) == ("", True)


def test_read_request__suggests_fields_for_the_reported_faults_only() -> None:
    body = json.dumps({f"Args{number:04}": 1 for number in range(3000)}).encode()
    *told, more = faults_of(body)
    assert [pointer for pointer, _ in told] == [f"/Args{number:04}" for number in range(MAX_FAULTS)]
    assert {message for _, message in told} == {"unknown field; did you mean Args?"}
    assert more == ("", f"there are more faults than these {MAX_FAULTS}")


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"%x":{}' % number for number in range(2000)) + b"}",
        b'{"Environments":[' + b",".join([b"{}"] * 2000) + b"]}",
        b'{"Environments":[{' + b",".join(b'"%x":[]' % number for number in range(2000)) + b"}]}",
    ],
    ids=["unknown fields", "empty variables", "unknown fields of a variable"],
)
def test_read_request__leaves_nothing_of_a_faulty_body_to_the_garbage_collector(body: bytes) -> None:
    """It runs so seldom that a crowd of such bodies filled the memory of the pod."""
    read_request(body)  # what stays for good is there now
    gc.collect()
    gc.disable()
    try:
        _, faults = read_request(body)
        assert len(faults) > 100
        del faults
        assert gc.collect() == 0
    finally:
        gc.enable()
