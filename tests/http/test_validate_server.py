"""`slimfaas-jobs validate --server`: definitions checked by a dry run on an API server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from app.cli import main
from tests.integration.dispatching import until
from tests.support.fault_rules import Fault, Refuse
from tests.support.faults import FaultProxy
from tests.support.servers import SERVICE_ACCOUNT, Server, write_kubeconfig

ENFORCED = pytest.mark.real_only("it has no such admission plugin")

Check = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def check(
    server: Server,
    namespace: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    batch: client.BatchV1Api,
) -> Iterator[Check]:
    """Check one definition on the API server; returns exit code, output and errors. Nothing may be stored."""
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, server, namespace)))
    monkeypatch.delenv("SLIMFAAS_NAMESPACE", raising=False)

    def run(definition: dict[str, Any], *arguments: str) -> tuple[int, list[str], str]:
        file = tmp_path / "jobs.json"
        file.write_text(json.dumps({"Configurations": {"a": {"Image": "busybox:1", **definition}}}), "utf-8")
        code = main(["validate", "--server", *arguments, str(file)])
        printed = capsys.readouterr()
        return code, [line.removeprefix(f"{file}: ") for line in printed.out.splitlines()], printed.err

    yield run
    assert batch.list_namespaced_job(namespace).items == []


def test_validate_server__prints_nothing_for_a_valid_definition(check: Check) -> None:
    assert check({"Resources": {"Limits": {"cpu": "1"}}, "Environments": [{"Name": "A", "Value": "b"}]})[:2] == (0, [])


@pytest.mark.parametrize(
    ("definition", "pointer"),
    [
        (
            {"Image": "busybox:1", "Resources": {"Limits": {"nvidia.com/gpu": "0.5"}}},
            "/Resources/Limits/nvidia.com~1gpu",
        ),
        ({"Environments": [{"Name": "A", "FieldRef": {"FieldPath": "spec.none"}}]}, "/Environments/0"),
        (
            {"Environments": [{"Name": "A", "Value": ""}, {"Name": "B", "ResourceFieldRef": {"Resource": "limits.x"}}]},
            "/Environments/1",
        ),
    ],
)
def test_validate_server__points_to_the_field_of_the_definition(
    check: Check, definition: dict[str, Any], pointer: str
) -> None:
    """The reader of the configuration has never seen the Job."""
    code, lines, _ = check(definition)
    assert code == 1
    assert lines
    assert all(line.startswith(f"/Configurations/a{pointer}: ") for line in lines), lines


def test_validate_server__points_into_a_template(check: Check) -> None:
    """A field that the API server does not know is a fault, too."""
    pod = {"containers": [{"name": "main"}], "tolerations": [{"key": "a", "operator": "Perhaps"}], "nodeSelectors": {}}
    template = {"spec": {"template": {"spec": pod}}}

    code, lines, _ = check({"JobTemplate": template})

    assert code == 1
    (line,) = lines
    assert line == "/Configurations/a/JobTemplate/spec/template/spec/nodeSelectors: unknown field"
    del pod["nodeSelectors"]
    code, lines, _ = check({"JobTemplate": template})
    assert code == 1
    assert all(
        line.startswith("/Configurations/a/JobTemplate/spec/template/spec/tolerations/0/operator: ") for line in lines
    ), lines


def _grant_service_accounts(server: Server, namespace: str) -> None:
    """Grant what the service's own rights do not include; the embedded cluster needs no rights."""
    if server.token(namespace) is None:
        return
    rights = client.RbacAuthorizationV1Api(server.admin)
    rule = {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get"]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "accounts"}
    subject = {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": namespace}
    rights.create_namespaced_role(namespace, {"metadata": {"name": "accounts"}, "rules": [rule]})
    binding = {"metadata": {"name": "accounts"}, "roleRef": reference, "subjects": [subject]}
    rights.create_namespaced_role_binding(namespace, binding)


def test_validate_server__looks_up_service_accounts_and_dependencies(
    check: Check, server: Server, namespace: str
) -> None:
    """The API server stores a Job whatever it names."""
    _grant_service_accounts(server, namespace)
    definition = {"ServiceAccountName": "writer", "DependsOn": ["database"]}
    code, lines, _ = check(definition)
    assert code == 1
    account, workload = lines
    assert account.startswith("/Configurations/a/ServiceAccountName: no such ServiceAccount")
    assert workload.startswith("/Configurations/a/DependsOn/0: no such Deployment or StatefulSet")

    client.CoreV1Api(server.admin).create_namespaced_service_account(namespace, {"metadata": {"name": "writer"}})
    labels = {"app": "database"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "busybox:1"}]}}
    client.AppsV1Api(server.admin).create_namespaced_deployment(
        namespace,
        {
            "metadata": {"name": "database"},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
        },
    )
    assert check(definition)[:2] == (0, [])


def test_validate_server__exits_with_3_if_the_api_server_is_unreachable(
    check: Check, tmp_path: Path, server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that was found without the API server takes precedence."""
    (tmp_path / "away").mkdir()
    away = write_kubeconfig(tmp_path / "away", server, namespace, url="http://127.0.0.1:9")
    monkeypatch.setenv("KUBECONFIG", str(away))
    code, lines, errors = check({})
    assert (code, lines) == (3, [])
    assert errors.startswith("cannot check with the API server: no connection")
    assert check({"BackoffLimit": -1})[0] == 1


def test_validate_server__exits_with_3_without_a_kubeconfig(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG")
    code, _, errors = check({})
    assert code == 3
    assert "KUBECONFIG isn't set" in errors


def test_validate_server__refuses_a_malformed_namespace(check: Check) -> None:
    code, _, errors = check({}, "--namespace", "../x")
    assert code == 2
    assert "must be the name of a Kubernetes namespace" in errors


@pytest.mark.parametrize(
    ("refusal", "code", "words"),
    [
        (Refuse(403, "Forbidden", "exceeded quota: jobs"), 1, "/Configurations/a: refused by a quota: "),
        (
            Refuse(403, "Forbidden", 'admission webhook "w" denied the request: no'),
            1,
            "/Configurations/a: refused by an admission policy: ",
        ),
        (Refuse(403, "Forbidden", 'User "x" cannot create resource "jobs"'), 3, "cannot check with the API server: "),
        (Refuse(404, "NotFound"), 1, "takes no Jobs: "),
        (Refuse(429, "TooManyRequests"), 3, "cannot check with the API server: "),
        (Refuse(500, "InternalError"), 3, "cannot check with the API server: "),
    ],
)
def test_validate_server__tells_faults_from_outages(
    check: Check,
    proxy: FaultProxy,
    tmp_path: Path,
    server: Server,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Refuse,
    code: int,
    words: str,
) -> None:
    (tmp_path / "proxied").mkdir()
    proxied = write_kubeconfig(tmp_path / "proxied", server, namespace, url=proxy.url)
    monkeypatch.setenv("KUBECONFIG", str(proxied))
    proxy.add(Fault(refusal, method="POST"))
    returned, lines, errors = check({})
    assert returned == code
    assert words in "\n".join([*lines, errors])


@ENFORCED
def test_validate_server__reports_a_quota(check: Check, server: Server, namespace: str) -> None:
    core = client.CoreV1Api(server.admin)
    hard = {"count/jobs.batch": "0"}
    core.create_namespaced_resource_quota(namespace, {"metadata": {"name": "jobs"}, "spec": {"hard": hard}})
    # Until a controller has counted the usage, the error is "status unknown", which is not a refusal by a quota.
    status = {"status": {"hard": hard, "used": {"count/jobs.batch": "0"}}}
    core.patch_namespaced_resource_quota_status("jobs", namespace, status)

    until(lambda: check({})[0] == 1)
    code, (line,), _ = check({})
    assert code == 1
    assert line.startswith("/Configurations/a: refused by a quota: ")


@ENFORCED
def test_validate_server__warns_of_a_pod_security_violation(check: Check, server: Server, namespace: str) -> None:
    """The Job is stored but its pods are not: the API server says so in a header."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    client.CoreV1Api(server.admin).patch_namespace(namespace, {"metadata": {"labels": labels}})

    until(lambda: check({})[2])  # the label takes effect a moment later
    code, lines, errors = check({})
    assert (code, lines) == (0, [])
    assert 'would violate PodSecurity "restricted' in errors
    allowed = {"RunAsNonRoot": True, "RunAsUser": 10001, "Capabilities": {"Drop": ["ALL"]}}
    assert check({"SecurityContext": allowed}) == (0, [], "")


@ENFORCED
def test_validate_server__exits_with_3_without_rights_in_the_namespace(check: Check) -> None:
    code, lines, errors = check({}, "--namespace", "not-there")
    assert (code, lines) == (3, [])
    assert 'in the namespace "not-there"' in errors


@ENFORCED
def test_validate_server__warns_of_what_it_may_not_look_up(check: Check) -> None:
    """The service's own rights do not include ServiceAccounts."""
    code, lines, errors = check({"ServiceAccountName": "writer"})
    assert (code, lines) == (0, [])
    assert "/Configurations/a/ServiceAccountName: not looked up: " in errors


@ENFORCED
def test_validate_server__reports_an_admission_policy(check: Check, server: Server, namespace: str) -> None:
    policies = client.AdmissionregistrationV1Api(server.admin)
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
    policy = {
        "metadata": {"name": namespace},
        "spec": {
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
            "validations": [{"expression": "object.spec.backoffLimit < 3", "message": "too many retries"}],
        },
    }
    binding = {"metadata": {"name": namespace}, "spec": {"policyName": namespace, "validationActions": ["Deny"]}}
    policies.create_validating_admission_policy(policy)
    try:
        policies.create_validating_admission_policy_binding(binding)
        until(lambda: check({"BackoffLimit": 3})[0] == 1)
        _, (line,), _ = check({"BackoffLimit": 3})
        assert line.startswith("/Configurations/a: refused by an admission policy: ")
        assert "too many retries" in line
        assert check({"BackoffLimit": 2})[0] == 0
    finally:
        policies.delete_validating_admission_policy_binding(namespace)
        policies.delete_validating_admission_policy(namespace)


def test_validate_server__points_to_a_queue_of_kueue_that_does_not_exist(check: Check, namespace: str) -> None:
    code, lines, told = check({"Queue": "nowhere"})
    missing = f"no such LocalQueue of Kueue in the namespace {namespace}: runs would never start"
    if code == 0:  # the account has no right to look it up
        assert "/Configurations/a/Queue: not looked up: " in told
    else:
        assert lines == [f"/Configurations/a/Queue: {missing}"]
