"""Label and field selectors: what they match, and the API server's errors about malformed ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster.errors import ApiError
from devcluster.kinds import CONFIG_MAP, DEPLOYMENT, EVENT, JOB, POD
from devcluster.selectors import build_selector, label_selector_matches, parse_labels

LABEL_KEYS = st.sampled_from(["app", "tier", "slimfaas.dev/job"])
LABEL_VALUES = st.sampled_from(["", "a", "b", "fibonacci"])
LABELS = st.dictionaries(LABEL_KEYS, LABEL_VALUES)


def matches(selector, labels):
    return all(requirement.matches(labels) for requirement in parse_labels(selector))


@pytest.mark.parametrize(
    ("selector", "matching", "other"),
    [
        ("app=a", {"app": "a"}, {"app": "b"}),
        ("app==a", {"app": "a"}, {}),
        ("app!=a", {}, {"app": "a"}),
        ("app in (a, b)", {"app": "b"}, {"app": "c"}),
        ("app in (,b)", {"app": ""}, {"app": "a"}),
        ("app notin (a,b)", {"app": "c"}, {"app": "a"}),
        ("app notin (a)", {}, {"app": "a"}),
        ("app", {"app": ""}, {}),
        ("!app", {}, {"app": ""}),
        ("app=", {"app": ""}, {"app": "a"}),
        ("app=a,tier=b", {"app": "a", "tier": "b"}, {"app": "a"}),
        ("weight>3", {"weight": "4"}, {"weight": "3"}),
        ("weight<3", {"weight": "2"}, {"weight": "heavy"}),
        ("in in (in)", {"in": "in"}, {"in": "out"}),
        ("slimfaas.dev/job=fibonacci", {"slimfaas.dev/job": "fibonacci"}, {"job": "fibonacci"}),
    ],
)
def test_parse_labels__matches_as_documented(selector, matching, other):
    """Every operator of the label grammar."""
    assert matches(selector, matching)
    assert not matches(selector, other)


@given(LABELS, LABEL_KEYS, LABEL_VALUES)
def test_requirement__operator_and_negation_are_complementary(labels, key, value):
    """`=` and `!=`, `in` and `notin`, `key` and `!key`: exactly one of each pair matches any labels."""
    for one, other in (
        (f"{key}={value}", f"{key}!={value}"),
        (f"{key} in ({value})", f"{key} notin ({value})"),
        (key, f"!{key}"),
    ):
        assert matches(one, labels) is not matches(other, labels)


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("app=a b=c", "found 'b', expected: ',' or 'end of string'"),
        ("app,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("app in b", "unable to parse requirement: found 'b' expected: '('"),
        ("app ~ b", "unable to parse requirement: found '~', expected: in, notin, =, ==, !=, gt, lt"),
        ("weight>heavy", "for 'Gt', 'Lt' operators, the value must be an integer"),
        ("-app=a", "name part must consist of alphanumeric characters"),
        ("app=" + "a" * 64, "must be no more than 63 bytes"),
        ("app in (a", "found '', expected: ',' or ')'"),
        ("app in (", "found '', expected: ',', or identifier"),
    ],
)
def test_parse_labels__is_bad_request_when_malformed(selector, message):
    """The 400 says what was found and what was expected."""
    with pytest.raises(ApiError) as caught:
        parse_labels(selector)
    assert (caught.value.status, caught.value.reason) == (400, "BadRequest")
    assert message in caught.value.message


JOB_OBJECT = {"metadata": {"name": "one", "namespace": "default"}, "status": {"succeeded": 1}}
POD_OBJECT = {
    "metadata": {"name": "one", "namespace": "default"},
    "spec": {"nodeName": "laptop"},
    "status": {"phase": "Running", "podIP": "10.0.0.1"},
}
EVENT_OBJECT = {
    "metadata": {"name": "e", "namespace": "default"},
    "involvedObject": {"kind": "Job", "name": "one"},
    "reason": "Waiting",
    "type": "Normal",
    "reportingComponent": "slimfaas.dev/dispatcher",
}


@pytest.mark.parametrize(
    ("kind", "obj", "selector", "taken"),
    [
        (JOB, JOB_OBJECT, "metadata.name=one", True),
        (JOB, JOB_OBJECT, "metadata.name!=one", False),
        (JOB, JOB_OBJECT, "status.successful=1", True),
        (JOB, JOB_OBJECT, "status.successful=0", False),
        (JOB, JOB_OBJECT, "metadata.namespace=default,metadata.name==two", False),
        (POD, POD_OBJECT, "status.phase=Running,spec.nodeName=laptop", True),
        (POD, POD_OBJECT, "status.phase!=Running", False),
        (POD, POD_OBJECT, "status.podIP=10.0.0.1", True),
        (POD, POD_OBJECT, "spec.hostNetwork=false", True),
        (EVENT, EVENT_OBJECT, "involvedObject.kind=Job,involvedObject.name=one", True),
        (EVENT, EVENT_OBJECT, "reason=Waiting,type=Normal,source=slimfaas.dev/dispatcher", True),
        (EVENT, EVENT_OBJECT, "involvedObject.uid=1", False),
    ],
)
def test_parse_fields__matches_the_fields_of_its_kind(kind, obj, selector, taken):
    """Under the names that a real API server publishes."""
    select = build_selector(kind, None, selector)
    assert select is not None
    assert select(obj) is taken


@pytest.mark.parametrize(
    ("kind", "selector", "message"),
    [
        (JOB, "spec.suspend=true", 'field label "spec.suspend" not supported for Job'),
        (POD, "spec.image=a", "field label not supported: spec.image"),
        (EVENT, "message=a", "field label not supported: message"),
        (
            DEPLOYMENT,
            "status.replicas=1",
            '"status.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (CONFIG_MAP, "nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
    ],
)
def test_parse_fields__is_bad_request_for_unsupported_fields(kind, selector, message):
    """An unsupported field is a 400, never an empty list."""
    with pytest.raises(ApiError) as caught:
        build_selector(kind, None, selector)
    assert (caught.value.status, caught.value.message) == (400, message)


def test_parse_fields__unescapes_commas():
    """A backslash takes a comma into the value instead of ending the term."""
    select = build_selector(EVENT, None, r"reason=a\,b")
    assert select is not None
    assert select({"metadata": {}, "reason": "a,b"})


@given(LABELS)
def test_label_selector_matches__empty_matches_all_and_none_matches_nothing(labels):
    """As in Kubernetes."""
    assert label_selector_matches({}, labels)
    assert not label_selector_matches(None, labels)


def test_label_selector_matches__requires_expressions_and_labels():
    selector = {
        "matchLabels": {"app": "a"},
        "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["b"]}, {"key": "x", "operator": "Exists"}],
    }
    assert label_selector_matches(selector, {"app": "a", "x": ""})
    assert not label_selector_matches(selector, {"app": "a", "tier": "b", "x": ""})
    assert not label_selector_matches(selector, {"app": "a"})
