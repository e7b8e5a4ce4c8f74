"""What a call to the API server is called in the metrics."""

import pytest

from app.kube.api_call_metrics import verb_and_resource

NAMESPACE = "/apis/batch/v1/namespaces/jobs"


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("POST", f"{NAMESPACE}/jobs", {}, ("create", "jobs")),
        ("GET", f"{NAMESPACE}/jobs", {"limit": 1}, ("list", "jobs")),
        ("GET", f"{NAMESPACE}/jobs", {"watch": "true"}, ("watch", "jobs")),
        ("GET", f"{NAMESPACE}/jobs/jobs", {}, ("get", "jobs")),
        ("PATCH", f"{NAMESPACE}/jobs/a-slimfaas-job-b", {}, ("patch", "jobs")),
        ("DELETE", f"{NAMESPACE}/jobs/a-slimfaas-job-b", {}, ("delete", "jobs")),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/jobs/leases/x", {}, ("update", "leases")),
        ("GET", "/api/v1/namespaces/jobs/pods/a/log", {"follow": "true"}, ("get", "pods/log")),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {}, ("create", "tokenreviews")),
    ],
)
def test_verb_and_resource__uses_the_names_of_rbac(
    method: str, path: str, query: dict[str, object], expected: tuple[str, str]
) -> None:
    """The names of objects, of which there are any number, are no part of it."""
    assert verb_and_resource(method, path, query) == expected
