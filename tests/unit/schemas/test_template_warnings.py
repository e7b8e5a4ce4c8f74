"""What `slimfaas-jobs validate` says of templates: fields that Kubernetes lacks, and settings beyond "baseline"."""

import json
from typing import Any

import pytest

from schemas.configuration import Definitions, parse_configuration
from schemas.template_fields import find_field_faults
from schemas.warnings import find_warnings
from tests.unit.schemas.test_template import POD, template
from tools.template_fields import FILE, write_fields


def read(job: Any, **beside: Any) -> Definitions:
    """The definitions of a configuration with this template."""
    return parse_configuration(json.dumps({"Configurations": {"train": {"JobTemplate": job, **beside}}}))


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({"pod": {"hostNetwork": True}}, "hostNetwork"),
        ({"pod": {"hostPID": True}}, "hostPID"),
        ({"pod": {"hostIPC": True}}, "hostIPC"),
        ({"pod": {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}}, "volumes/0/hostPath"),
        ({"pod": {"automountServiceAccountToken": True}}, "automountServiceAccountToken"),
        ({"pod": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}}, "securityContext/seccompProfile"),
        ({"pod": {"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}}, "securityContext/sysctls/0"),
        (
            {"pod": {"securityContext": {"windowsOptions": {"hostProcess": True}}}},
            "securityContext/windowsOptions/hostProcess",
        ),
        ({"container": {"securityContext": {"privileged": True}}}, "containers/0/securityContext/privileged"),
        ({"container": {"securityContext": {"procMount": "Unmasked"}}}, "containers/0/securityContext/procMount"),
        (
            {"container": {"securityContext": {"capabilities": {"add": ["KILL", "SYS_ADMIN"]}}}},
            "containers/0/securityContext/capabilities/add/1",
        ),
        (
            {"container": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}},
            "containers/0/securityContext/appArmorProfile",
        ),
        (
            {"container": {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}},
            "containers/0/securityContext/seLinuxOptions",
        ),
        ({"container": {"ports": [{"containerPort": 80, "hostPort": 80}]}}, "containers/0/ports/0/hostPort"),
        (
            {"container": {"lifecycle": {"preStop": {"httpGet": {"host": "other", "port": 80}}}}},
            "containers/0/lifecycle/preStop/httpGet/host",
        ),
        (
            {"pod": {"initContainers": [{"name": "a", "image": "a:1", "securityContext": {"privileged": True}}]}},
            "initContainers/0/securityContext/privileged",
        ),
    ],
)
def test_find_warnings__names_what_a_template_opens_beyond_baseline(said: dict[str, Any], place: str) -> None:
    assert [warning.pointer for warning in find_warnings(read(template(**said)))] == [f"{POD}/{place}"]


def test_find_warnings__finds_nothing_in_a_template_within_baseline() -> None:
    container = {"securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}}}
    pod = {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]}, "volumes": []}

    assert find_warnings(read(template(container=container, pod=pod))) == []


def test_find_warnings__names_a_label_that_runs_have_otherwise() -> None:
    """Charts give it to everything."""
    labels = {"app.kubernetes.io/managed-by": "Helm", "team": "data"}
    found = find_warnings(read(template(metadata={"labels": labels}, pod_metadata={"labels": labels})))
    assert [warning.pointer.removeprefix("/Configurations/train/JobTemplate") for warning in found] == [
        "/metadata/labels/app.kubernetes.io~1managed-by",
        "/spec/template/metadata/labels/app.kubernetes.io~1managed-by",
    ]
    labels["app.kubernetes.io/managed-by"] = "slimfaas-jobs"
    assert find_warnings(read(template(metadata={"labels": labels}))) == []


def test_find_warnings__names_what_the_runs_of_a_public_template_hold() -> None:
    pod = {
        "volumes": [{"name": "keys", "secret": {"secretName": "keys"}}],
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccountName": "trainer",
    }
    (warning,) = find_warnings(read(template(pod=pod), Visibility="Public"))

    assert warning.pointer == "/Configurations/train/Visibility"
    held = "the token of a ServiceAccount, the volume keys and the credentials of a registry, with Args"
    assert held in warning.message


@pytest.mark.parametrize(
    ("said", "place", "message"),
    [
        ({"pod": {"nodeSelectors": {}}}, "nodeSelectors", "unknown field; did you mean nodeSelector?"),
        ({"pod": {"nodeSelector": []}}, "nodeSelector", "must be an object"),
        ({"pod": {"nodeSelector": {"a": 1}}}, "nodeSelector/a", "must be a string"),
        ({"pod": {"tolerations": {}}}, "tolerations", "must be an array"),
        ({"pod": {"hostNetwork": "true"}}, "hostNetwork", "must be true or false"),
        ({"pod": {"terminationGracePeriodSeconds": True}}, "terminationGracePeriodSeconds", "must be an integer"),
        ({"container": {"volumeMounts": [{"name": 5}]}}, "containers/0/volumeMounts/0/name", "must be a string"),
        ({"container": {"lifecycle": "x"}}, "containers/0/lifecycle", "must be an object"),
    ],
)
def test_find_field_faults__names_what_kubernetes_does_not_have(said: dict[str, Any], place: str, message: str) -> None:
    (fault,) = find_field_faults(read(template(**said)))

    assert fault.pointer == f"{POD}/{place}"
    assert fault.message.startswith(message)


def test_find_field_faults__accepts_a_template_of_many_fields() -> None:
    container = {
        "resources": {"limits": {"cpu": 2, "nvidia.com/gpu": 1}, "requests": {"cpu": 0.5}},
        "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 3},
    }
    pod = {
        "volumes": [{"name": "a", "emptyDir": {"sizeLimit": 1}}, {"name": "b", "csi": {"driver": "d"}}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "tolerations": [{"operator": "Exists", "tolerationSeconds": 5}],
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
    }
    rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]
    job = template(container=container, pod=pod, job={"podFailurePolicy": {"rules": rules}})

    assert find_field_faults(read(job)) == []


def test_find_field_faults__leaves_out_definitions_without_a_template() -> None:
    assert find_field_faults(parse_configuration('{"Configurations": {"a": {"Image": "busybox"}}}')) == []


def test_template_fields__are_those_of_the_client() -> None:
    """`make docs` writes the file."""
    assert FILE.read_text("utf-8") == write_fields(), f"{FILE.name} is stale: run `make docs`"
