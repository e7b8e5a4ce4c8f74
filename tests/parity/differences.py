"""What the embedded cluster does differently on purpose, all in one place; docs/testing.md shows the same list."""

from dataclasses import dataclass

from tests.parity.manifests import job, pod
from tests.parity.steps import JOBS, PODS, Step, create, get

_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@dataclass(frozen=True)
class Difference:
    """A deliberate difference.

    Attributes:
        what: what differs, as docs/testing.md says it.
        why: the reason, as docs/testing.md says it.
        path: a pattern of the facts `<kind>:<path>` in which the servers may differ because of it; `None` where no
            case meets it.
        shown_by: steps that show it; a difference that can't be shown any more is to be struck off.
    """

    what: str
    why: str
    path: str | None = None
    shown_by: tuple[Step, ...] = ()


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "It speaks JSON over HTTP, asks nobody who they are, and refuses what a web page sends.",
        "It is for one user on one machine.",
    ),
    Difference(
        "A token is judged anew by each TokenReview; kube-apiserver remembers a good one for 10 seconds.",
        "There is little to save, and a test needs not wait.",
    ),
    Difference(
        "It serves twelve kinds: Pods, Jobs, Deployments, StatefulSets and what they need.",
        "The service and `kubectl` use no others with it.",
    ),
    Difference(
        "Objects have no `managedFields`, and there is no server-side apply.",
        "Nothing here reads who wrote a field.",
        r":(.*\.)?metadata\.managedFields|^TokenReview:metadata$",  # a review's metadata is empty but for them
        (create(JOBS, job()),),
    ),
    Difference(
        "Pods get no volume with a token, priority or default tolerations.",
        "Admission plugins add them for what doesn't exist here: mounts, preemption, eviction.",
        r"^Pod.*:.*\bspec\.(preemptionPolicy|priority|tolerations)",
        (create(PODS, pod()),),
    ),
    Difference(
        "The columns of tables have no descriptions.",
        "`kubectl get` doesn't show them.",
        r"^Table:columnDefinitions\[\d+\]\.description",
        (create(JOBS, job()), get(JOBS, accept=_TABLE)),
    ),
    Difference(
        "Messages quote values as JSON, and some of them differ in a word.",
        "Clients decide by status, reason and causes, which are the same.",
    ),
    Difference(
        "Every well-formed namespace exists, and one that is deleted goes at once.",
        "Nobody should have to create one to try something.",
    ),
    Difference(
        "It remembers the last 10,000 changes of each kind, whatever their age; older watches get 410.",
        "Memory is what it has; etcd is compacted every five minutes.",
    ),
    Difference(
        "Controllers write at once; kube-controller-manager gathers what happens to a Job within a second.",
        "Demos and tests are quicker.",
    ),
    Difference(
        "A Deployment owns its pods directly: there are no ReplicaSets, revisions and rollbacks.",
        "What a dependency is judged by is the Deployment's own status.",
    ),
    Difference(
        "Indexed Jobs, pod failure policies and success policies are stored, but not carried out.",
        "The service makes no such Jobs.",
    ),
    Difference(
        "Containers are processes of the user, without isolation, volumes, init containers and liveness probes.",
        "No container runtime is needed.",
    ),
    Difference(
        "A container's termination message is a file below its working directory: `dev/termination-log`, not "
        "`/dev/termination-log`. With a `workingDir`, it has none but its log's end.",
        "Processes share the host's `/dev`. From the root of an image, the relative path leads to the same file.",
    ),
)

BY_CONTROLLERS = r"^(Deployment|StatefulSet|Scale):(status|metadata\.(resourceVersion|annotations))"
"""What a controller writes on a workload at its own time; the cases about controllers compare it."""
