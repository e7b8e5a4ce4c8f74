"""The deliberate differences of the embedded cluster from a real one; docs/testing.md has the same list."""

from dataclasses import dataclass

from tests.parity.manifests import job, pod
from tests.parity.steps import JOBS, PODS, Step, create, get

_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@dataclass(frozen=True)
class Difference:
    """A deliberate difference.

    Attributes:
        what: the difference, as in docs/testing.md.
        why: the reason, as in docs/testing.md.
        path: a pattern of the facts `<kind>:<path>` in which the servers may differ because of it; `None` if no case
            is affected.
        shown_by: steps that show it; when they no longer do, the difference must be removed.
    """

    what: str
    why: str
    path: str | None = None
    shown_by: tuple[Step, ...] = ()


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "It uses JSON over HTTP, does not authenticate, and refuses requests from web pages.",
        "It is for one user on one machine.",
    ),
    Difference(
        "It reads no Protobuf, which `kubectl create job NAME` and the like send: 415, and a command that works.",
        "`kubectl apply` and `kubectl create -f` send JSON, which every kind has.",
    ),
    Difference(
        "Each TokenReview verifies the token; kube-apiserver caches the result for 10 seconds.",
        "A cache would save little, and tests would have to wait.",
    ),
    Difference(
        "It serves seventeen kinds: Pods, Jobs, CronJobs, Deployments, StatefulSets, Roles, and what they need.",
        "The service and `kubectl` need no others.",
    ),
    Difference(
        "Objects have no `managedFields`, and there is no server-side apply.",
        "Nothing here uses the owner of a field.",
        # The metadata of reviews contains nothing else.
        r":(.*\.)?metadata\.managedFields|^(TokenReview|SubjectAccessReview):metadata$",
        (create(JOBS, job()),),
    ),
    Difference(
        "Pods get no token volume, priority or default tolerations.",
        "Admission plugins add them for features that do not exist here: mounts, preemption, eviction.",
        r"^Pod.*:.*\bspec\.(preemptionPolicy|priority|tolerations)",
        (create(PODS, pod()),),
    ),
    Difference(
        "The columns of tables have no descriptions.",
        "`kubectl get` does not show them.",
        r"^Table:columnDefinitions\[\d+\]\.description",
        (create(JOBS, job()), get(JOBS, accept=_TABLE)),
    ),
    Difference(
        "Messages quote values as JSON, and a few are worded differently.",
        "Clients use status, reason and causes, which are the same.",
    ),
    Difference(
        "Every namespace with a valid name exists, and a deleted one is removed at once.",
        "Users should not have to create one first.",
    ),
    Difference(
        "It keeps the last 10,000 changes of each kind, whatever their age; older watches get 410.",
        "It stores everything in memory; etcd is compacted every five minutes.",
    ),
    Difference(
        "Controllers write at once; kube-controller-manager batches the changes of a Job for a second.",
        "Demos and tests are faster.",
    ),
    Difference(
        "A Deployment owns its pods directly: there are no ReplicaSets, revisions or rollbacks.",
        "The readiness of a dependency depends only on the Deployment's own status.",
    ),
    Difference(
        "Indexed Jobs and success policies are stored, but not executed.",
        "The service creates no such Jobs.",
    ),
    Difference(
        "The action `RestartAllContainers` of a container's restart rule is stored, but not executed.",
        "The service creates no such containers.",
    ),
    Difference(
        "Containers are processes of the user, without isolation, volumes, hooks or liveness probes.",
        "No container runtime is needed.",
    ),
    Difference(
        "A container's termination message is a file below its working directory: `dev/termination-log`, not "
        "`/dev/termination-log`. With a `workingDir`, only the end of its log can be its message.",
        "Processes share the host's `/dev`. From the root of an image, the relative path leads to the same file.",
    ),
)

BY_CONTROLLERS = r"^(Deployment|StatefulSet|Scale):(status|metadata\.(resourceVersion|annotations))"
"""Fields that controllers write at any time; only the cases about controllers compare them."""
