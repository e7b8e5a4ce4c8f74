"""What is written into the cluster: the Job of a run, whole."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app.kube.manifests import build_admission, build_job
from schemas.definition import Definition, Variable
from schemas.merge import merge
from schemas.request import Request
from schemas.security import SeccompProfile, SecurityContext

MOMENT = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
NAME = "report-slimfaas-job-abcdefghijkl"
LABELS = {"app.kubernetes.io/managed-by": "slimfaas-jobs", "slimfaas.dev/job": "report"}


def job_of(definition: Definition, **call: Any) -> dict[str, Any]:
    """The Job of a run whose request changes nothing."""
    options = {"queued_at": MOMENT, "call": "mark", **call}
    return build_job(merge(definition, Request()), "abcdefghijkl", **options)


def pod_of(**fields: Any) -> dict[str, Any]:
    """The pod's spec, of a definition with these fields."""
    spec: dict[str, Any] = job_of(Definition("report", "team/app:1", **fields))["spec"]["template"]["spec"]
    return spec


def test_build_job__of_a_minimal_definition() -> None:
    """An image alone makes this Job: no token, no links to Services, no way to more rights, the runtime's profile."""
    assert job_of(Definition("report", "team/app:1")) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": NAME,
            "labels": LABELS,
            "annotations": {
                "slimfaas.dev/queued-at": "2026-03-01T12:00:00.000005Z",
                "slimfaas.dev/depends-on": "[]",
                "slimfaas.dev/call": "mark",
                "kueue.x-k8s.io/admission-gated-by": "slimfaas.dev/dispatcher",
            },
        },
        "spec": {
            "suspend": True,
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 1,
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "template": {
                "metadata": {
                    "labels": LABELS,
                    "annotations": {"kubectl.kubernetes.io/default-container": "report"},
                },
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [
                        {
                            "name": "report",
                            "image": "team/app:1",
                            "env": [
                                {"name": "SLIMFAAS_JOB_NAME", "value": "report"},
                                {"name": "SLIMFAAS_JOB_ID", "value": "abcdefghijkl"},
                            ],
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "securityContext": {"allowPrivilegeEscalation": False},
                        }
                    ],
                },
            },
        },
    }


def test_build_job__of_a_definition_that_sets_everything() -> None:
    """Each field reaches its place in the Job as it was written."""
    definition = Definition(
        name="report",
        image="team/app:1",
        requests={"cpu": "100m"},
        limits={"cpu": "1", "memory": "1Gi"},
        depends_on=("db", "cache"),
        environments=(
            Variable("OUT", "/data/$(SLIMFAAS_JOB_ID)"),
            Variable("TOKEN", source={"secretKeyRef": {"name": "api", "key": "token"}}),
        ),
        backoff_limit=3,
        visibility="Public",
        number_parallel_job=7,
        timeout_seconds=600,
        pending_timeout_seconds=30,
        ttl_seconds_after_finished=60,
        restart_policy="OnFailure",
        command=("run",),
        args=("--all", "$(OUT)"),
        service_account_name="reporter",
        security_context=SecurityContext(
            run_as_user=10001,
            run_as_group=10002,
            run_as_non_root=True,
            fs_group=10003,
            supplemental_groups=(7, 8),
            read_only_root_filesystem=True,
            allow_privilege_escalation=True,
            added_capabilities=("NET_BIND_SERVICE",),
            dropped_capabilities=("ALL",),
            seccomp_profile=SeccompProfile("Localhost", "profiles/report.json"),
        ),
    )
    queued_at = MOMENT.astimezone(timezone(timedelta(hours=2)))

    assert job_of(definition, queued_at=queued_at, path="a/$b", query="q=$(TOKEN)") == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": NAME,
            "labels": LABELS,
            "annotations": {
                "slimfaas.dev/queued-at": "2026-03-01T12:00:00.000005Z",
                "slimfaas.dev/depends-on": '["db", "cache"]',
                "slimfaas.dev/call": "mark",
                "kueue.x-k8s.io/admission-gated-by": "slimfaas.dev/dispatcher",
                "SlimFaas/DependsOn": "db,cache",
                "slimfaas.dev/pending-timeout-seconds": "30",
            },
        },
        "spec": {
            "suspend": True,
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 3,
            "activeDeadlineSeconds": 600,
            "ttlSecondsAfterFinished": 60,
            "template": {
                "metadata": {
                    "labels": LABELS,
                    "annotations": {
                        "kubectl.kubernetes.io/default-container": "report",
                        "SlimFaas/DefaultTrust": "Untrusted",
                    },
                },
                "spec": {
                    "restartPolicy": "OnFailure",
                    "serviceAccountName": "reporter",
                    "automountServiceAccountToken": True,
                    "enableServiceLinks": False,
                    "securityContext": {
                        "runAsUser": 10001,
                        "runAsGroup": 10002,
                        "runAsNonRoot": True,
                        "fsGroup": 10003,
                        "supplementalGroups": [7, 8],
                        "seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/report.json"},
                    },
                    "containers": [
                        {
                            "name": "report",
                            "image": "team/app:1",
                            "command": ["run"],
                            "args": ["--all", "$(OUT)"],
                            "env": [
                                {"name": "SLIMFAAS_JOB_NAME", "value": "report"},
                                {"name": "SLIMFAAS_JOB_ID", "value": "abcdefghijkl"},
                                {"name": "SLIMFAAS_JOB_PATH", "value": "a/$$b"},
                                {"name": "SLIMFAAS_JOB_QUERY", "value": "q=$$(TOKEN)"},
                                {"name": "OUT", "value": "/data/$(SLIMFAAS_JOB_ID)"},
                                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}},
                            ],
                            "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}},
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "securityContext": {
                                "allowPrivilegeEscalation": True,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
                            },
                        }
                    ],
                },
            },
        },
    }


@pytest.mark.parametrize(("visibility", "trust"), [("Public", "Untrusted"), ("Private", None)])
def test_build_job__marks_only_pods_of_public_definitions_as_untrusted(visibility: Any, trust: str | None) -> None:
    """A run of a public definition must not call private ones; one of a private definition may."""
    job = job_of(Definition("report", "team/app:1", visibility=visibility))
    assert job["spec"]["template"]["metadata"]["annotations"].get("SlimFaas/DefaultTrust") == trust


@pytest.mark.parametrize(
    ("visibility", "seconds", "depends_on", "label", "annotation"),
    [
        ("Private", 60, ("db",), NAME, "db"),
        ("Private", 0, ("db", "cache"), NAME, "db,cache"),
        ("Private", 60, (), NAME, None),
        ("Private", None, ("db",), None, None),
        ("Public", 60, ("db",), None, "db"),
    ],
)
def test_build_job__tells_slimfaas_of_runs_that_are_removed_after_their_end(
    visibility: Any, seconds: int | None, depends_on: tuple[str, ...], label: str | None, annotation: str | None
) -> None:
    """A kept one would keep functions awake, and addresses trusted. Callers of public ones must not gain trust."""
    definition = Definition(
        "report", "team/app:1", visibility=visibility, ttl_seconds_after_finished=seconds, depends_on=depends_on
    )
    job = job_of(definition)
    assert job["spec"]["template"]["metadata"]["labels"].get("slimfaas-job-name") == label
    assert job["metadata"]["annotations"].get("SlimFaas/DependsOn") == annotation
    assert job["metadata"]["labels"] == LABELS


def test_build_job__writes_false_and_zero_but_nothing_absent() -> None:
    """`RunAsUser: 0` and `RunAsNonRoot: false` are choices; left out, the image or the cluster chooses."""
    context = SecurityContext(
        run_as_user=0, run_as_group=0, run_as_non_root=False, fs_group=0, read_only_root_filesystem=False
    )
    pod = pod_of(security_context=context)

    assert pod["securityContext"] == {
        "runAsUser": 0,
        "runAsGroup": 0,
        "runAsNonRoot": False,
        "fsGroup": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": False,
    }


def test_build_job__keeps_security_defaults_that_are_not_named() -> None:
    """Dropping capabilities, for one, keeps the profile and the ban on privilege escalation."""
    pod = pod_of(security_context=SecurityContext(dropped_capabilities=("NET_RAW",)))

    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["NET_RAW"]},
    }


def test_build_job__names_kueues_queue_on_the_job_alone() -> None:
    definition = Definition("report", "team/app:1", queue="team-a", priority="high", priorities_whitelist=("low",))
    job = build_job(merge(definition, Request(priority="low")), "abcdefghijkl", queued_at=MOMENT, call="mark")
    kueue = {"kueue.x-k8s.io/queue-name": "team-a", "kueue.x-k8s.io/priority-class": "low"}
    assert job["metadata"]["labels"] == {**LABELS, **kueue}
    assert job["spec"]["template"]["metadata"]["labels"] == LABELS, "Kueue may manage pods, too"
    assert job["spec"]["suspend"] is True


@pytest.mark.parametrize(("gates_left", "written"), [("", None), ("example.com/other", "example.com/other")])
def test_build_admission__removes_its_gate_or_starts_the_job_and_never_both(
    gates_left: str, written: str | None
) -> None:
    assert build_admission(7) == {"metadata": {"resourceVersion": "7"}, "spec": {"suspend": False}}
    annotations = {"kueue.x-k8s.io/admission-gated-by": written}
    assert build_admission(7, gates_left=gates_left) == {
        "metadata": {"resourceVersion": "7", "annotations": annotations}
    }
