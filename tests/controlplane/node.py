"""The control plane's one node: the stages of kwok through which pods pass, in the order of a kubelet.

Nothing is run. Init containers end at once, and sidecars with the pod. An annotation tells what happens to a pod or, if
its template cannot be chosen freely, an environment variable of its first container:

| annotation             | variable               | meaning                                         | default |
| ---------------------- | ---------------------- | ----------------------------------------------- | ------- |
| `testnode/ready-after` | `TESTNODE_READY_AFTER` | time until it is Running and Ready              | `0s`    |
| `testnode/runs-for`    | `TESTNODE_RUNS_FOR`    | how long the containers of a Job's pod run      | `1s`    |
| `testnode/exit-code`   | `TESTNODE_EXIT_CODE`   | the exit code of the containers of a Job's pod  | `0`     |

Times are Go durations (`1m30s`). Images under `missing.invalid/` cannot be pulled. Pods without a Job never end.
Every container's log is the one line `LOG_LINE`.
Stages and their templates: https://kwok.sigs.k8s.io/docs/user/stages-configuration/
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NODE_NAME = "testnode"
LOG_LINE = "nothing runs here"

_MISSING_REGISTRY = "missing.invalid/"

# jq: where kwok reads a pod's state
_DELETED = ".metadata.deletionTimestamp"
_PHASE = ".status.phase"
_OWNERS = "(.metadata.ownerReferences // [])[].kind"
_UNPULLABLE = f'any(.spec.containers[]; .image | startswith("{_MISSING_REGISTRY}")) | tostring'
_WAITING = "(.status.containerStatuses // [])[].state.waiting.reason"


def node() -> dict[str, Any]:
    """Return the Node to create; kwok fills in its status."""
    resources = {"cpu": "1k", "memory": "1Ti", "ephemeral-storage": "1Ti", "pods": "10k", "nvidia.com/gpu": "64"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE_NAME, "labels": {"kubernetes.io/hostname": NODE_NAME}},
        "status": {"allocatable": resources, "capacity": resources},
    }


def kwok_configuration(pod_log: Path) -> str:
    """Return the text of kwok's `--config` file.

    Args:
        pod_log: The log file of every container, in the format of container runtimes.
    """
    logs = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterLogs",
        "metadata": {"name": "logs"},
        "spec": {"logs": [{"logsFile": str(pod_log)}]},
    }
    stages = [
        _stage("node-ready", "Node", [_any_but(_condition("Ready"), "True")], _NODE_READY),
        _stage(
            "pod-image-missing",
            "Pod",
            [_absent(_DELETED), _one(_PHASE, "Pending"), _one(_UNPULLABLE, "true"), _absent(_WAITING)],
            _IMAGE_MISSING,
        ),
        _stage(
            "pod-running",
            "Pod",
            [_absent(_DELETED), _one(_PHASE, "Pending"), _one(_UNPULLABLE, "false")],
            _RUNNING,
            delay=_setting("ready-after", "0s"),
        ),
        _stage(
            "pod-succeeded",
            "Pod",
            [*_RUNNING_OF_JOB, _one(_EXIT_CODE, "0")],
            _ended("Succeeded"),
            delay=_RUNS_FOR,
        ),
        _stage(
            "pod-failed",
            "Pod",
            [*_RUNNING_OF_JOB, _any_but(_EXIT_CODE, "0"), _one(".spec.restartPolicy", "Never")],
            _ended("Failed"),
            delay=_RUNS_FOR,
        ),
        _stage(
            "pod-restarted",
            "Pod",
            [*_RUNNING_OF_JOB, _any_but(_EXIT_CODE, "0"), _one(".spec.restartPolicy", "OnFailure")],
            _RESTARTED,
            delay=_RUNS_FOR,
        ),
        # A kubelet ends the containers of a deleted pod, updates its status, and then removes it:
        # https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
        _stage(
            "pod-killed",
            "Pod",
            [_present(_DELETED), _one(_PHASE, "Running")],
            _ended("Failed", exit_code="143"),
        ),
        _stage("pod-gone", "Pod", [_present(_DELETED), _any_but(_PHASE, "Running")], None),
    ]
    return "\n---\n".join(json.dumps(stage, indent=1) for stage in [*stages, logs])


def _stage(
    name: str, kind: str, conditions: list[dict[str, Any]], status: str | None, *, delay: str | None = None
) -> dict[str, Any]:
    """Return one stage.

    Objects of the kind that meet `conditions` (jq) get `status` after `delay`; without `status` they are deleted.
    """
    spec: dict[str, Any] = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": conditions},
        "next": {"delete": True} if status is None else {"statusTemplate": status},
    }
    if delay is not None:
        spec["delay"] = {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": delay}}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _one(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": [value]}


def _any_but(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "operator": "NotIn", "values": [value]}


def _present(key: str) -> dict[str, Any]:
    return {"key": key, "operator": "Exists"}


def _absent(key: str) -> dict[str, Any]:
    return {"key": key, "operator": "DoesNotExist"}


def _condition(kind: str) -> str:
    return f'(.status.conditions // [])[] | select(.type == "{kind}") | .status'


def _setting(name: str, default: str) -> str:
    """Return the jq expression for the setting `name` of a pod."""
    variable = f"TESTNODE_{name.upper().replace('-', '_')}"
    return (
        f'(.metadata.annotations // {{}})["testnode/{name}"]'
        f' // (.spec.containers[0].env // [] | map(select(.name == "{variable}")) | .[0].value) // "{default}"'
    )


_EXIT_CODE = _setting("exit-code", "0")
_RUNS_FOR = _setting("runs-for", "1s")
_RUNNING_OF_JOB = [_absent(_DELETED), _one(_PHASE, "Running"), _one(_OWNERS, "Job")]

# Go templates: the same settings again, because kwok renders a status without jq.
_TEMPLATE_EXIT_CODE = """
{{ $code := "0" }}
{{ range (index .spec.containers 0).env }}
{{ if eq .name "TESTNODE_EXIT_CODE" }}{{ $code = .value }}{{ end }}
{{ end }}
{{ with .metadata.annotations }}{{ with index . "testnode/exit-code" }}{{ $code = . }}{{ end }}{{ end }}
"""

_NODE_READY = """
{{ $now := Now }}
phase: Running
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
- {type: Hostname, address: {{ NodeName | Quote }}}
daemonEndpoints: {kubeletEndpoint: {Port: {{ NodePort }}}}
"""


def _conditions(ready: str, reason: str = "") -> str:
    return "conditions:\n" + "".join(
        f'- {{type: {kind}, status: "{status}", reason: "{why}", lastTransitionTime: {{{{ Now | Quote }}}}}}\n'
        for kind, status, why in [
            ("PodReadyToStartContainers", "True", ""),
            ("Initialized", "True", ""),
            ("ContainersReady", ready, reason),
            ("Ready", ready, reason),
        ]
    )


_ADDRESSES = """
{{ $address := PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
hostIPs: [{ip: {{ NodeIPWith .spec.nodeName | Quote }}}]
podIP: {{ $address | Quote }}
podIPs: [{ip: {{ $address | Quote }}}]
startTime: {{ or .status.startTime Now | Quote }}
"""

_IMAGE_MISSING = f"""
{_conditions("False", "ContainersNotReady")}
{_ADDRESSES}
phase: Pending
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state:
    waiting:
      reason: ImagePullBackOff
      message: {{{{ printf "Back-off pulling image %q" .image | Quote }}}}
{{{{ end }}}}
"""

_INITIALIZED = """
{{ if .spec.initContainers }}
initContainerStatuses:
{{ range .spec.initContainers }}
{{ $sidecar := eq (or .restartPolicy "") "Always" }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: {{ .image | Quote }}
  ready: true
  started: {{ $sidecar }}
  restartCount: 0
{{ if $sidecar }}
  state: {running: {startedAt: {{ Now | Quote }}}}
{{ else }}
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ Now | Quote }}, finishedAt: {{ Now | Quote }}}}
{{ end }}
{{ end }}
{{ end }}
"""
"""Init containers have ended, sidecars run."""

_RUNNING = f"""
{_conditions("True")}
{_ADDRESSES}
{_INITIALIZED}
phase: Running
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  imageID: {{{{ .image | Quote }}}}
  ready: true
  started: true
  restartCount: 0
  state: {{running: {{startedAt: {{{{ Now | Quote }}}}}}}}
{{{{ end }}}}
"""


def _terminated(exit_code: str) -> str:
    """Return the state of an ended container; the exit code is a template expression."""
    return f"""
    terminated:
      exitCode: {{{{ {exit_code} }}}}
      reason: {{{{ if eq (print {exit_code}) "0" }}}}Completed{{{{ else }}}}Error{{{{ end }}}}
      startedAt: {{{{ .state.running.startedAt | Quote }}}}
      finishedAt: {{{{ Now | Quote }}}}"""


_SIDECARS_ENDED = """
{{ if .status.initContainerStatuses }}
initContainerStatuses:
{{ range .status.initContainerStatuses }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: {{ .imageID | Quote }}
  ready: {{ not .state.running }}
  started: false
  restartCount: {{ .restartCount }}
{{ $from := Now }}
{{ with .state.running }}{{ $from = .startedAt }}{{ end }}
{{ with .state.terminated }}{{ $from = .startedAt }}{{ end }}
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $from | Quote }}, finishedAt: {{ Now | Quote }}}}
{{ end }}
{{ end }}
"""


def _ended(phase: str, *, exit_code: str = "$code") -> str:
    return f"""
{_TEMPLATE_EXIT_CODE}
{_conditions("False", "PodCompleted" if phase == "Succeeded" else "PodFailed")}
{_SIDECARS_ENDED}
phase: {phase}
containerStatuses:
{{{{ range .status.containerStatuses }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  imageID: {{{{ .imageID | Quote }}}}
  ready: false
  started: false
  restartCount: {{{{ .restartCount }}}}
  state: {_terminated(exit_code)}
{{{{ end }}}}
"""


_RESTARTED = f"""
{_TEMPLATE_EXIT_CODE}
phase: Running
containerStatuses:
{{{{ range .status.containerStatuses }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  imageID: {{{{ .imageID | Quote }}}}
  ready: true
  started: true
  restartCount: {{{{ add .restartCount 1 }}}}
  state: {{running: {{startedAt: {{{{ Now | Quote }}}}}}}}
  lastState: {_terminated("$code")}
{{{{ end }}}}
"""
