"""Label and field selectors: what they match, and what the API server says about those it can't read."""

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
def test_a_label_selector_takes_what_it_names_and_nothing_else(selector, matching, other):
    """Every operator of the label grammar picks the objects that the documentation says."""
    assert matches(selector, matching)
    assert not matches(selector, other)


@given(LABELS, LABEL_KEYS, LABEL_VALUES)
def test_every_operator_and_its_negation_share_all_objects_between_them(labels, key, value):
    """`=` and `!=`, `in` and `notin`, `key` and `!key` each divide any labels in two."""
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
def test_a_label_selector_that_cannot_be_read_is_a_bad_request(selector, message):
    """The refusal is a 400 that says what was found and what was expected."""
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
def test_a_field_selector_compares_the_fields_that_its_kind_supports(kind, obj, selector, taken):
    """Field selectors see what a real API server lets them see, under its published names."""
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
def test_a_field_that_is_not_selectable_is_a_bad_request(kind, selector, message):
    """An unsupported field gets the 400 of its kind, never an empty list."""
    with pytest.raises(ApiError) as caught:
        build_selector(kind, None, selector)
    assert (caught.value.status, caught.value.message) == (400, message)


def test_escaped_commas_belong_to_the_value():
    """A backslash takes a comma into the value instead of ending the term."""
    select = build_selector(EVENT, None, r"reason=a\,b")
    assert select is not None
    assert select({"metadata": {}, "reason": "a,b"})


@given(LABELS)
def test_an_empty_label_selector_object_takes_everything_and_none_takes_nothing(labels):
    """The two ways to say nothing in an object's selector mean opposite things, as in Kubernetes."""
    assert label_selector_matches({}, labels)
    assert not label_selector_matches(None, labels)


def test_match_expressions_and_match_labels_both_have_to_hold():
    """A selector object's parts are all required."""
    selector = {
        "matchLabels": {"app": "a"},
        "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["b"]}, {"key": "x", "operator": "Exists"}],
    }
    assert label_selector_matches(selector, {"app": "a", "x": ""})
    assert not label_selector_matches(selector, {"app": "a", "tier": "b", "x": ""})
    assert not label_selector_matches(selector, {"app": "a"})
