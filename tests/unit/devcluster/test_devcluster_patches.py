"""The three patch formats: RFC 7386, RFC 6902, and strategic merge patches of lists."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster.errors import ApiError
from devcluster.kinds import JOB, POD, SERVICE
from devcluster.patch import apply_json_patch, apply_merge_patch
from devcluster.strategic import apply_strategic_patch

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
KEYS = st.sampled_from(["a", "b", "c", "~", "/"])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=4)


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


@given(JSON, JSON)
def test_merge_patch__is_idempotent(document, patch):
    once = apply_merge_patch(document, patch)
    assert apply_merge_patch(once, patch) == once


@given(OBJECTS)
def test_merge_patch__empty_patch_changes_nothing(document):
    assert apply_merge_patch(document, {}) == document


@given(JSON, JSON)
def test_merge_patch__of_nothing_is_the_patch_without_nulls(document, patch):
    """A null only ever removes a field."""
    if not isinstance(document, dict):
        assert apply_merge_patch(document, patch) == without_nulls(patch)


@given(JSON, JSON)
def test_merge_patch__does_not_change_its_arguments(document, patch):
    """Stored objects are shared, so a patch must make a new document."""
    before = copy.deepcopy((document, patch))
    apply_merge_patch(document, patch)
    assert (document, patch) == before


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch__matches_examples_of_rfc_7386(document, patch, result):
    """Appendix A of the RFC."""
    assert apply_merge_patch(document, patch) == result


@given(OBJECTS, KEYS, JSON)
def test_json_patch__test_and_remove_after_add_restore_the_document(document, key, value):
    """Except for a value that was replaced."""
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")
    added = apply_json_patch(
        document, [{"op": "add", "path": pointer, "value": value}, {"op": "test", "path": pointer, "value": value}]
    )
    assert added[key] == value
    removed = apply_json_patch(added, [{"op": "remove", "path": pointer}])
    assert removed == {name: item for name, item in document.items() if name != key}


@given(OBJECTS)
def test_json_patch__failure_does_not_change_the_document(document):
    """All operations apply, or none."""
    before = copy.deepcopy(document)
    operations = [{"op": "add", "path": "/new", "value": 1}, {"op": "test", "path": "/new", "value": 2}]
    with pytest.raises(ApiError):
        apply_json_patch(document, operations)
    assert document == before


@pytest.mark.parametrize(
    ("document", "operations", "result"),
    [
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": 2}], {"a": 2}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": [1, 2, 3]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}], {"a": [2, 3, 1]}),
        ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"z": 0}}], {"z": 0}),
        ({"m~n/o": 1}, [{"op": "replace", "path": "/m~0n~1o", "value": 2}], {"m~n/o": 2}),
    ],
)
def test_json_patch__applies_each_operation(document, operations, result):
    """add, remove, replace, move and copy, in objects and lists."""
    assert apply_json_patch(document, operations) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/missing"},
        {"op": "replace", "path": "/missing", "value": 1},
        {"op": "add", "path": "/missing/deeper", "value": 1},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "test", "path": "/number", "value": True},
        {"op": "move", "from": "/object", "path": "/object/inside"},
        {"op": "frobnicate", "path": "/number"},
        {"op": "add", "path": "/number"},
        {"op": "add", "path": "number", "value": 1},
    ],
)
def test_json_patch__is_unprocessable_when_it_does_not_apply(operation):
    """The API server responds 422 without a reason; `true` does not equal 1."""
    with pytest.raises(ApiError) as caught:
        apply_json_patch({"number": 1, "list": [1], "object": {}}, [operation])
    assert (caught.value.status, caught.value.reason) == (422, "Invalid")


def test_json_patch__is_bad_request_when_not_a_list():
    with pytest.raises(ApiError) as caught:
        apply_json_patch({}, {"op": "add"})
    assert caught.value.status == 400


def containers(*names):
    return {"spec": {"containers": [{"name": name, "image": f"{name}:1"} for name in names]}}


def test_strategic_patch__merges_containers_by_name():
    """It changes a named container, adds a new one, and keeps the others."""
    patch = {"spec": {"containers": [{"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1"}]}}
    patched = apply_strategic_patch(POD, containers("a", "b"), patch)
    assert [one["image"] for one in patched["spec"]["containers"]] == ["a:1", "b:2", "c:1"]


def test_strategic_patch__merges_environments_inside_containers():
    """Lists merge at every depth, each by its own key."""
    document = {
        "spec": {"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}]}
    }
    patch = {"spec": {"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}]}]}}
    patched = apply_strategic_patch(POD, document, patch)
    assert patched["spec"]["containers"][0]["env"] == [{"name": "X", "value": "1"}, {"name": "Y", "value": "3"}]


def test_strategic_patch__obeys_delete_and_replace_directives():
    """`$patch: delete` removes one item, `$patch: replace` the others, null a field."""
    patch = {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}
    assert apply_strategic_patch(POD, containers("a", "b"), patch) == containers("b")
    patch = {"spec": {"containers": [{"$patch": "replace"}, {"name": "c", "image": "c:1"}]}}
    assert apply_strategic_patch(POD, containers("a", "b"), patch) == containers("c")
    patch = {"metadata": {"labels": {"$patch": "replace", "x": "1"}, "annotations": None}}
    document = {"metadata": {"labels": {"y": "2"}, "annotations": {"z": "3"}}}
    assert apply_strategic_patch(POD, document, patch) == {"metadata": {"labels": {"x": "1"}}}


def test_strategic_patch__merges_finalizers_as_a_set():
    """Finalizers are added, or removed by their own directive."""
    document = {"metadata": {"finalizers": ["a.dev/x", "b.dev/y"]}}
    patch = {"metadata": {"finalizers": ["c.dev/z"], "$deleteFromPrimitiveList/finalizers": ["a.dev/x"]}}
    patched = apply_strategic_patch(POD, document, patch)
    assert sorted(patched["metadata"]["finalizers"]) == ["b.dev/y", "c.dev/z"]


def test_strategic_patch__merges_owners_and_conditions():
    """OwnerReferences merge by uid, conditions by type."""
    document = {
        "metadata": {"ownerReferences": [{"uid": "1", "name": "a"}]},
        "status": {"conditions": [{"type": "Suspended", "status": "True"}]},
    }
    patch = {
        "metadata": {"ownerReferences": [{"uid": "2", "name": "b"}]},
        "status": {"conditions": [{"type": "Suspended", "status": "False"}, {"type": "Complete", "status": "True"}]},
    }
    patched = apply_strategic_patch(JOB, document, patch)
    assert [owner["uid"] for owner in patched["metadata"]["ownerReferences"]] == ["1", "2"]
    assert [one["status"] for one in patched["status"]["conditions"]] == ["False", "True"]


def test_strategic_patch__replaces_lists_without_merge_key():
    """For example args and tolerations."""
    document = {"spec": {"tolerations": [{"key": "a"}], "containers": [{"name": "a", "args": ["1", "2"]}]}}
    patch = {"spec": {"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["3"]}]}}
    patched = apply_strategic_patch(POD, document, patch)
    assert patched["spec"] == {"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["3"]}]}


def test_strategic_patch__sorts_by_set_element_order():
    """`$setElementOrder` sorts the items it names; each other item stays behind its predecessor."""
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "c:2"}],
        }
    }
    patched = apply_strategic_patch(POD, containers("a", "b", "c"), patch)
    assert [one["name"] for one in patched["spec"]["containers"]] == ["c", "a", "b"]


def test_strategic_patch__retain_keys_removes_other_keys():
    """`$retainKeys` removes the other member of a union."""
    document = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    patch = {"spec": {"volumes": [{"name": "v", "configMap": {"name": "c"}, "$retainKeys": ["name", "configMap"]}]}}
    patched = apply_strategic_patch(POD, document, patch)
    assert patched["spec"]["volumes"] == [{"name": "v", "configMap": {"name": "c"}}]


def test_strategic_patch__merges_ports_by_the_key_of_their_kind():
    """A container's ports merge by containerPort, a Service's by port."""
    service = apply_strategic_patch(
        SERVICE, {"spec": {"ports": [{"port": 80}]}}, {"spec": {"ports": [{"port": 80, "name": "http"}]}}
    )
    assert service["spec"]["ports"] == [{"port": 80, "name": "http"}]


def test_strategic_patch__refuses_an_item_without_merge_key():
    with pytest.raises(ApiError, match="does not contain declared merge key: name"):
        apply_strategic_patch(POD, containers("a"), {"spec": {"containers": [{"image": "b"}]}})


@given(st.lists(st.sampled_from("abc"), unique=True), st.lists(st.sampled_from("abcd"), unique=True))
def test_strategic_patch__is_idempotent_and_keeps_all_named_items(present, named):
    """After a patch, every old and every new container is present once, however often it is applied."""
    patch = containers(*named)
    once = apply_strategic_patch(POD, containers(*present), patch)
    assert apply_strategic_patch(POD, once, patch) == once
    names = [one["name"] for one in once["spec"]["containers"]]
    assert sorted(names) == sorted({*present, *named})
