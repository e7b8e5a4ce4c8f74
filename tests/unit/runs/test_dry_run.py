"""What a dry run shows of a Job that an admission webhook has changed."""

from app.runs.dry_run import redact
from schemas.definition import Definition, Variable
from schemas.merge import merge
from schemas.request import Request

SECRETS = ("the-secret", "its-value")


def test_redact__removes_references_to_secrets_and_injected_values() -> None:
    """Injected containers keep their name and image."""
    request = Request(environments=(Variable("OWN", "mine", literal=True),))
    definition = Definition(name="job", image="busybox:1", environments=(Variable("PASSWORD", "its-value"),))
    injected = {
        "name": "proxy",
        "image": "proxy:1",
        "args": ["its-value"],
        "env": [{"name": "A", "value": "its-value"}],
    }
    reference = {"secretKeyRef": {"name": "the-secret", "key": "k"}}
    own = {
        "name": "job",
        "image": "busybox:1",
        "env": [
            {"name": "SLIMFAAS_JOB_ID", "value": "x"},
            {"name": "PASSWORD", "value": "its-value"},
            {"name": "OWN", "value": "mine"},
            {"name": "ADDED", "valueFrom": reference},
        ],
        "envFrom": [{"secretRef": {"name": "the-secret"}}],
        "volumeMounts": [{"name": "the-secret", "mountPath": "/s"}],
        "lifecycle": {"preStop": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": "its-value"}]}}},
    }
    pod = {
        "containers": [own, injected],
        "initContainers": [injected],
        "volumes": [{"name": "v", "secret": {"secretName": "the-secret"}}],
        "imagePullSecrets": [{"name": "the-secret"}],
        "restartPolicy": "Never",
    }
    annotations = {"vault.hashicorp.com/agent-inject-secret-a": "the-secret", "slimfaas.dev/call": "c"}
    template = {"metadata": {"annotations": annotations}, "spec": pod}
    metadata = {"name": "j", "managedFields": [], "annotations": annotations}
    job = {"metadata": metadata, "spec": {"suspend": True, "template": template}}

    shown = redact(job, merge(definition, request), request)

    assert not any(word in str(shown) for word in SECRETS)
    assert shown["metadata"] == {"name": "j", "annotations": {"slimfaas.dev/call": "c"}}
    assert shown["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    ours, added = shown["spec"]["template"]["spec"]["containers"]
    assert ours["env"] == [
        {"name": "SLIMFAAS_JOB_ID", "value": "x"},
        {"name": "PASSWORD"},
        {"name": "OWN", "value": "mine"},
        {"name": "ADDED"},
    ]
    assert added == {"name": "proxy", "image": "proxy:1"}
