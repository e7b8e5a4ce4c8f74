"""The kinds that the embedded cluster serves, as the API server's discovery documents name them."""

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)  # each kind is one constant, so compare by identity
class Kind:
    """One served resource type; see https://kubernetes.io/docs/reference/using-api/api-concepts/."""

    group: str  # "" is the core group
    version: str
    kind: str
    plural: str  # as in URLs
    singular: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    has_generation: bool = False  # changes of spec increase metadata.generation
    create_on_update: bool = False  # a PUT creates an object that does not exist
    unconditional_update: bool = True  # a PUT may omit metadata.resourceVersion
    returns_deleted: bool = False  # DELETE returns the object's last state, not a Status
    default_propagation: str = "Background"  # of a DELETE that names none
    categories: tuple[str, ...] = ()  # groups of kinds for kubectl, such as "all"

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The name in errors about a resource: `jobs.batch`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified(self) -> str:
        """The name in errors about an object: `Job.batch`, `Pod`."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


_STATUS = ("status",)
_SCALED = ("status", "scale")
_ALL = ("all",)

POD = Kind("", "v1", "Pod", "pods", "pod", ("po",), subresources=("status", "log"), has_generation=True,
           returns_deleted=True, categories=_ALL)  # fmt: skip
EVENT = Kind("", "v1", "Event", "events", "event", ("ev",), create_on_update=True)
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", "configmap", ("cm",))
SECRET = Kind("", "v1", "Secret", "secrets", "secret")
SERVICE = Kind("", "v1", "Service", "services", "service", ("svc",), subresources=_STATUS, create_on_update=True,
               returns_deleted=True, categories=_ALL)  # fmt: skip
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", ("sa",),
                       subresources=("token",), returns_deleted=True)  # fmt: skip
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", "namespace", ("ns",), namespaced=False, subresources=_STATUS,
                 returns_deleted=True)  # fmt: skip
NODE = Kind("", "v1", "Node", "nodes", "node", ("no",), namespaced=False, subresources=_STATUS)
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments", "deployment", ("deploy",), subresources=_SCALED,
                  has_generation=True, categories=_ALL)  # fmt: skip
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets", "statefulset", ("sts",), subresources=_SCALED,
                    has_generation=True, categories=_ALL)  # fmt: skip
JOB = Kind("batch", "v1", "Job", "jobs", "job", subresources=_STATUS, has_generation=True,
           default_propagation="Orphan", categories=_ALL)  # fmt: skip
CRON_JOB = Kind("batch", "v1", "CronJob", "cronjobs", "cronjob", ("cj",), subresources=_STATUS, has_generation=True,
                categories=_ALL)  # fmt: skip
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", "lease", create_on_update=True,
             unconditional_update=False)  # fmt: skip

_RBAC = "rbac.authorization.k8s.io"
ROLE = Kind(_RBAC, "v1", "Role", "roles", "role", create_on_update=True)
ROLE_BINDING = Kind(_RBAC, "v1", "RoleBinding", "rolebindings", "rolebinding", create_on_update=True)
CLUSTER_ROLE = Kind(_RBAC, "v1", "ClusterRole", "clusterroles", "clusterrole", namespaced=False, create_on_update=True)
CLUSTER_ROLE_BINDING = Kind(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding",
                            namespaced=False, create_on_update=True)  # fmt: skip

KINDS = (POD, EVENT, CONFIG_MAP, SECRET, SERVICE, SERVICE_ACCOUNT, NAMESPACE, NODE,
         DEPLOYMENT, STATEFUL_SET, JOB, CRON_JOB, LEASE,
         ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING)  # fmt: skip

# The server responds to these and does not store them.
TOKEN_REVIEW = Kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", "tokenreview", namespaced=False)
ACCESS_REVIEW = Kind("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview",
                     namespaced=False)  # fmt: skip
REVIEWS = (TOKEN_REVIEW, ACCESS_REVIEW)
TOKEN_REQUEST = Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", "tokenrequest")

SERVED = (*KINDS, *REVIEWS)
"""The kinds that have a path of their own."""

_BY_NAME = {(kind.api_version, kind.kind): kind for kind in KINDS}


def find_kind(api_version: str, kind: str) -> Kind | None:
    """Return the kind of an object's `apiVersion` and `kind`; None when the embedded cluster does not serve it."""
    return _BY_NAME.get((api_version, kind))
