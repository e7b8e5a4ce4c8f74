"""The template of a definition: the Job that its runs are made from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Template:
    """The Job that the runs of a definition are made from.

    All runs of the definition share it. So nothing in `job` is ever changed: a run's Job is made of new objects along
    the paths that differ.

    Attributes:
        job: `metadata` and `spec` of a Job, in Kubernetes' own form, as written in `JobTemplate`. What the definition
            says beside it is in it, too, and so are the service's defaults (`schemas.template_defaults`).
        index: the position of the run's container in `spec.template.spec.containers`.
        said_beside: the fields of the definition that are given outside of the template, such as `Image`.
        variables: how many of the definition's variables come from the template. They come first.
        secrets: what the program can read because of the template and callers must not: for people, such as
            "the volume data".
        fixed_variables: variables in upper case that no request may set, because they choose what is mounted.
        names_variables_in_full: whether a request may set a variable only if the definition names it in full: the
            template takes variables from a whole Secret or ConfigMap, so their names are unknown.
    """

    job: Mapping[str, Any]
    index: int
    said_beside: frozenset[str] = frozenset()
    variables: int = 0
    secrets: tuple[str, ...] = ()
    fixed_variables: frozenset[str] = frozenset()
    names_variables_in_full: bool = False

    @property
    def pod(self) -> Mapping[str, Any]:
        """The pod's `spec`."""
        pod: Mapping[str, Any] = self.job["spec"]["template"]["spec"]
        return pod

    @property
    def container(self) -> Mapping[str, Any]:
        """The run's container."""
        container: Mapping[str, Any] = self.pod["containers"][self.index]
        return container

    @property
    def forbids_restart(self) -> bool:
        """Whether a run's pods must have the restart policy `Never`: Kubernetes demands it of a `podFailurePolicy`."""
        return "podFailurePolicy" in self.job["spec"]

    def without_variables(self) -> "Template":
        """Return the template without the variables of the run's container, which takes a fifth less memory.

        The definition has them, and each run gets them from there. Only a check of the template as it is written needs
        them here, too.
        """
        containers = [*self.pod["containers"]]
        containers[self.index] = {key: value for key, value in self.container.items() if key != "env"}
        pod_template = {**self.job["spec"]["template"], "spec": {**self.pod, "containers": containers}}
        return replace(self, job={**self.job, "spec": {**self.job["spec"], "template": pod_template}})


def walk_containers(pod: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    """Yield each container of a pod's `spec` with its path there, init containers and sidecars first."""
    for part in ("initContainers", "containers"):
        for index, container in enumerate(pod.get(part) or ()):
            yield (part, index), container


POD = ("spec", "template", "spec")
"""The path of the pod's `spec` in a template."""
