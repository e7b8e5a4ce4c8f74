"""The containers of a pod, each with what its kubelet says of it.

A sidecar, here, is an init container that is restarted always. Webhooks also add regular containers for the same
purpose. See https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.common.types import Json
from app.domain.attempt import INITIALIZING

_NOTHING: Json = {}


@dataclass(frozen=True, slots=True)
class PodContainer:
    """One container of a pod.

    Attributes:
        name: its name.
        spec: of the pod's spec; empty: it is not there.
        status: as the kubelet wrote it; empty: it has not.
        is_init: whether it is an init container.
        pod_policy: the pod's restartPolicy.
    """

    name: str
    spec: Mapping[str, Any]
    status: Json
    is_init: bool
    pod_policy: str

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that runs on beside the others."""
        return self.is_init and self.spec.get("restartPolicy") == "Always"

    @property
    def kind(self) -> str:
        """What to call it in texts."""
        return "sidecar" if self.is_sidecar else "init container" if self.is_init else "container"

    @property
    def state(self) -> Json:
        """Its state: `running`, `terminated` or `waiting`."""
        return self.status.get("state") or _NOTHING

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return "running" in self.state

    @property
    def terminated(self) -> Json | None:
        """How it has ended, if it has."""
        return self.state.get("terminated")

    @property
    def ended_before(self) -> Json | None:
        """How it ended before the present run or wait, if it did."""
        return (self.status.get("lastState") or _NOTHING).get("terminated")

    @property
    def obstacle(self) -> Json | None:
        """Why it waits, if that is more than its turn."""
        waiting: Json = self.state.get("waiting") or _NOTHING
        return None if waiting.get("reason") in (None, "", INITIALIZING) else waiting

    @property
    def has_failed(self) -> bool:
        """Whether it has ended with another exit code than 0."""
        return bool((self.terminated or _NOTHING).get("exitCode"))

    @property
    def is_over(self) -> bool:
        """Whether it has ended and is not restarted.

        Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
        """
        if self.terminated is None:
            return False
        exit_code = int(self.terminated.get("exitCode") or 0)
        if self.is_init and not self.is_sidecar and exit_code == 0:
            return True
        own = self.spec.get("restartPolicy")
        if own and any(_matches(rule, exit_code) for rule in self.spec.get("restartPolicyRules") or ()):
            return False
        policy = own or self.pod_policy
        return policy == "Never" or (policy == "OnFailure" and exit_code == 0)


def containers_of(pod: Json) -> list[PodContainer]:
    """Return the containers of a pod that its kubelet has written about, the init containers first, in their order."""
    spec, status = pod.get("spec") or _NOTHING, pod.get("status") or _NOTHING
    found = []
    for field, statuses in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        specs = {one.get("name"): one for one in spec.get(field) or ()}
        for one in status.get(statuses) or ():
            name = str(one.get("name") or "")
            is_init = field == "initContainers"
            found.append(PodContainer(name, specs.get(name, _NOTHING), one, is_init, str(spec.get("restartPolicy"))))
    return found


def _matches(rule: Mapping[str, Any], exit_code: int) -> bool:
    """Return whether a rule restarts a container that has ended with this exit code.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-restart-rules
    """
    codes = rule.get("exitCodes") or _NOTHING
    return (exit_code in (codes.get("values") or ())) == (codes.get("operator") == "In")
