"""`schemas.configuration`: valid and invalid values of every field, and the faults of a document."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.configuration import load_schema, parse_configuration
from schemas.definition import Definition, Variable
from schemas.faults import Fault, Refused
from schemas.security import SeccompProfile, SecurityContext

INT32_MAX = 2**31 - 1
JOB = "/Configurations/job"


def read(**entry: Any) -> Definition:
    """The definition `job` with these fields."""
    document = json.dumps({"Configurations": {"job": {"Image": "team/app:1", **entry}}})
    return parse_configuration(document)["job"]


def faults_of(document: str) -> list[tuple[str, str]]:
    """Every fault of a document that must have one."""
    with pytest.raises(Refused) as refused:
        parse_configuration(document)
    return [(fault.pointer, fault.message) for fault in refused.value.faults]


def faults_in(**entry: Any) -> list[tuple[str, str]]:
    """The faults of the definition `job` with these fields; their pointers begin at the definition."""
    found = faults_of(json.dumps({"Configurations": {"job": {"Image": "team/app:1", **entry}}}))
    assert all(pointer.startswith(JOB) for pointer, _ in found)
    return [(pointer.removeprefix(JOB), message) for pointer, message in found]


def variables(*entries: Any) -> dict[str, Any]:
    return {"Environments": list(entries)}


SECRET = {"Name": "api", "Key": "token"}

ACCEPTED: list[tuple[str, Any, str, Any]] = [
    ("Image", "registry.example.com:5000/a/b:1", "image", "registry.example.com:5000/a/b:1"),
    ("ImagesWhitelist", [], "images_whitelist", ()),
    ("ImagesWhitelist", ["team/*:*", "b"], "images_whitelist", ("team/*:*", "b")),
    ("Resources", {}, "requests", {}),
    ("Resources", {"Requests": {"cpu": "0.5"}}, "requests", {"cpu": "0.5"}),
    ("Resources", {"Requests": {"cpu": "1"}, "Limits": {"cpu": "1000m"}}, "limits", {"cpu": "1000m"}),
    ("Resources", {"Limits": {"nvidia.com/gpu": "1"}}, "limits", {"nvidia.com/gpu": "1"}),
    ("Resources", {"Limits": {"ephemeral-storage": "1G"}}, "limits", {"ephemeral-storage": "1G"}),
    ("Resources", {"Limits": {"hugepages-2Mi": "4Mi"}}, "limits", {"hugepages-2Mi": "4Mi"}),
    ("Resources", None, "requests", {}),
    ("DependsOn", None, "depends_on", ()),
    ("DependsOn", [], "depends_on", ()),
    ("DependsOn", ["b", "a.b-1", "a" * 253], "depends_on", ("b", "a.b-1", "a" * 253)),
    ("Environments", None, "environments", ()),
    ("Environments", [], "environments", ()),
    *(
        (
            "Environments",
            [{"Name": "A", key: "", "SecretRef": SECRET}],
            "environments",
            (Variable("A", source={"secretKeyRef": {"name": "api", "key": "token"}}),),
        )
        for key in ("Value", "value")
    ),
    *(
        (
            "Environments",
            [{"Name": "A", "ResourceFieldRef": {"ContainerName": container, "Resource": "limits.cpu"}}],
            "environments",
            (Variable("A", source={"resourceFieldRef": {"resource": "limits.cpu"}}),),
        )
        for container in ("", "job", "Job")
    ),
    ("Environments", [{"Name": "A", "Value": "$(B) x"}], "environments", (Variable("A", "$(B) x"),)),
    ("Environments", [{"Name": "A", "Value": ""}], "environments", (Variable("A", ""),)),
    ("Environments", [{"name": "a.b-c_1", "value": "x"}], "environments", (Variable("a.b-c_1", "x"),)),
    *(
        ("Environments", [{"Name": name, "Value": "x"}], "environments", (Variable(name, "x"),))
        for name in ("Logging:LogLevel:Default", "1A", "A B", "..a", " ", "~")
    ),
    ("Environments", [{"Name": "B"}, {"name": "C"}], "environments", (Variable("B", ""), Variable("C", ""))),
    ("EnvironmentsWhitelist", ["Logging:*", "A B"], "environments_whitelist", ("Logging:*", "A B")),
    ("Environments", [{"Name": "A", "value": "é\n"}], "environments", (Variable("A", "é\n"),)),
    (
        "Environments",
        [{"Name": "A", "SecretRef": SECRET}],
        "environments",
        (Variable("A", source={"secretKeyRef": {"name": "api", "key": "token"}}),),
    ),
    (
        "Environments",
        [{"Name": "A", "ConfigMapRef": {"Name": "set.tings", "Key": ".region"}}],
        "environments",
        (Variable("A", source={"configMapKeyRef": {"name": "set.tings", "key": ".region"}}),),
    ),
    (
        "Environments",
        [{"Name": "A", "FieldRef": {"FieldPath": "metadata.name"}}],
        "environments",
        (Variable("A", source={"fieldRef": {"fieldPath": "metadata.name"}}),),
    ),
    (
        "Environments",
        [{"Name": "A", "ResourceFieldRef": {"Resource": "limits.cpu"}}],
        "environments",
        (Variable("A", source={"resourceFieldRef": {"resource": "limits.cpu"}}),),
    ),
    (
        "Environments",
        [{"Name": "A", "ResourceFieldRef": {"Resource": "limits.memory", "Divisor": "1Mi"}}],
        "environments",
        (Variable("A", source={"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}),),
    ),
    ("BackoffLimit", 0, "backoff_limit", 0),
    ("BackoffLimit", INT32_MAX, "backoff_limit", INT32_MAX),
    ("Visibility", "Public", "visibility", "Public"),
    ("Visibility", "Private", "visibility", "Private"),
    ("NumberParallelJob", 1, "number_parallel_job", 1),
    ("NumberParallelJob", INT32_MAX, "number_parallel_job", INT32_MAX),
    ("MaxQueued", 1, "max_queued", 1),
    ("QueueTimeoutSeconds", 1, "queue_timeout_seconds", 1),
    ("EnvironmentsWhitelist", [], "environments_whitelist", ()),
    ("EnvironmentsWhitelist", ["A.b-c_*", "*"], "environments_whitelist", ("A.b-c_*", "*")),
    ("Overridable", [], "overridable", frozenset()),
    ("Overridable", ["Image", "Args"], "overridable", frozenset({"Args", "Image"})),
    ("TimeoutSeconds", INT32_MAX, "timeout_seconds", INT32_MAX),
    ("PendingTimeoutSeconds", 1, "pending_timeout_seconds", 1),
    ("TtlSecondsAfterFinished", 0, "ttl_seconds_after_finished", 0),
    ("TtlSecondsAfterFinished", INT32_MAX, "ttl_seconds_after_finished", INT32_MAX),
    ("RestartPolicy", "Never", "restart_policy", "Never"),
    ("RestartPolicy", "OnFailure", "restart_policy", "OnFailure"),
    ("Args", [], "args", ()),
    ("Args", ["$(A)", "", "x y"], "args", ("$(A)", "", "x y")),
    ("Command", ["sh", "-c"], "command", ("sh", "-c")),
    ("ServiceAccountName", "reporter.v1", "service_account_name", "reporter.v1"),
    ("ServiceAccountName", "a" * 253, "service_account_name", "a" * 253),
    ("SecurityContext", {}, "security_context", SecurityContext()),
    ("SecurityContext", {"RunAsUser": 0}, "security_context", SecurityContext(run_as_user=0)),
    ("SecurityContext", {"RunAsGroup": INT32_MAX}, "security_context", SecurityContext(run_as_group=INT32_MAX)),
    (
        "SecurityContext",
        {"RunAsNonRoot": True, "RunAsUser": 1},
        "security_context",
        SecurityContext(run_as_non_root=True, run_as_user=1),
    ),
    (
        "SecurityContext",
        {"RunAsNonRoot": False, "RunAsUser": 0},
        "security_context",
        SecurityContext(run_as_non_root=False, run_as_user=0),
    ),
    ("SecurityContext", {"FsGroup": 0}, "security_context", SecurityContext(fs_group=0)),
    (
        "SecurityContext",
        {"SupplementalGroups": [0, 7]},
        "security_context",
        SecurityContext(supplemental_groups=(0, 7)),
    ),
    (
        "SecurityContext",
        {"ReadOnlyRootFilesystem": True},
        "security_context",
        SecurityContext(read_only_root_filesystem=True),
    ),
    (
        "SecurityContext",
        {"AllowPrivilegeEscalation": True},
        "security_context",
        SecurityContext(allow_privilege_escalation=True),
    ),
    (
        "SecurityContext",
        {"Capabilities": {"Add": ["NET_BIND_SERVICE"], "Drop": ["ALL"]}},
        "security_context",
        SecurityContext(added_capabilities=("NET_BIND_SERVICE",), dropped_capabilities=("ALL",)),
    ),
    (
        "SecurityContext",
        {"SeccompProfile": {"Type": "Localhost", "LocalhostProfile": "a/b..c.json"}},
        "security_context",
        SecurityContext(seccomp_profile=SeccompProfile("Localhost", "a/b..c.json")),
    ),
]

NOT_AN_IMAGE = "not an image reference; write it like registry/repository:tag"
NOT_A_QUANTITY = "not a quantity; write it like 500m, 2, 1.5 or 512Mi"
NOT_A_RESOURCE = (
    "not a container's resource name: cpu, memory, ephemeral-storage, hugepages-2Mi, "
    "or with its domain like nvidia.com/gpu"
)
NOT_A_WORKLOAD = "not the name of a Deployment or StatefulSet (a DNS subdomain)"
NOT_A_VARIABLE = (
    "not the name of an environment variable (printable ASCII characters without =), "
    "or one that begins with SLIMFAAS_JOB_"
)
NOT_AN_ACCOUNT = "not the name of a ServiceAccount (a DNS subdomain)"
NOT_ADDABLE = (
    'not a capability that the Pod Security Standard "baseline" allows to be added: AUDIT_WRITE, CHOWN, DAC_OVERRIDE, '
    "FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, SETFCAP, SETGID, SETPCAP, SETUID, SYS_CHROOT (without CAP_)"
)
NOT_A_CAPABILITY = "not a Linux capability (written without CAP_), or ALL"
NOT_A_PROFILE_TYPE = 'must be one of RuntimeDefault, Localhost; the Pod Security Standard "baseline" forbids Unconfined'
NOT_A_PROFILE = "not a relative path (letters, digits, -, _ and . between slashes, and no ..)"
NEVER_PRIVILEGED = 'runs are never privileged: the Pod Security Standard "baseline" forbids it'
ONE_OF = "needs at most one of Value, SecretRef, ConfigMapRef, FieldRef and ResourceFieldRef"

NOT_A_PATTERN = "not a pattern of variable names (printable ASCII characters without =)"
NOT_OVERRIDABLE = (
    "not a field of a request: Args, BackoffLimit, DependsOn, Environments, Image, PendingTimeoutSeconds, Priority, "
    "QueueTimeoutSeconds, Resources, RestartPolicy, TimeoutSeconds, TtlSecondsAfterFinished"
)

NOT_IN_KUEUE = "not a name in Kueue (a DNS subdomain of at most 63 characters)"
NEEDS_QUEUE = "needs Queue beside it, which is missing"

REFUSED: list[tuple[str, Any, str, str]] = [
    *(("Queue", name, "/Queue", NOT_IN_KUEUE) for name in ("", "Team-A", "a_b", "a" * 64, "team-a\n", None)),
    ("Priority", "high", "/Priority", NEEDS_QUEUE),
    ("PrioritiesWhitelist", ["low"], "/PrioritiesWhitelist", NEEDS_QUEUE),
    ("PrioritiesWhitelist", "low", "/PrioritiesWhitelist", "must be an array"),
    ("QueueTimeoutSeconds", 0, "/QueueTimeoutSeconds", "must be at least 1"),
    ("EnvironmentsWhitelist", "A", "/EnvironmentsWhitelist", "must be an array"),
    ("EnvironmentsWhitelist", ["A", "A"], "/EnvironmentsWhitelist", "has an item twice"),
    *(
        ("EnvironmentsWhitelist", [name], "/EnvironmentsWhitelist/0", NOT_A_PATTERN)
        for name in ("", "A=x", "É", "A\n", 1)
    ),
    ("Overridable", ["Args", "Args"], "/Overridable", "has an item twice"),
    *(("Overridable", [name], "/Overridable/0", NOT_OVERRIDABLE) for name in ("args", "Command", "", None)),
    *(
        (
            "Resources",
            {"Limits": {resource: amount}},
            f"/Resources/Limits/{resource}",
            f"a limit of 0 means no limit for {resource}, so it cannot be set",
        )
        for resource in ("cpu", "memory", "ephemeral-storage")
        for amount in ("0", "0m")
    ),
    ("Image", "", "/Image", "must not be empty"),
    ("Image", None, "/Image", "must be a string"),
    ("Image", 1, "/Image", "must be a string"),
    ("Image", "Team/App", "/Image", NOT_AN_IMAGE),
    ("Image", "team/app:1\n", "/Image", NOT_AN_IMAGE),
    ("Image", "https://team/app", "/Image", NOT_AN_IMAGE),
    ("ImagesWhitelist", "team/*", "/ImagesWhitelist", "must be an array"),
    ("ImagesWhitelist", ["a", 1], "/ImagesWhitelist/1", "must be a string"),
    ("ImagesWhitelist", ["a", ""], "/ImagesWhitelist/1", "must not be empty"),
    ("ImagesWhitelist", ["a:?"], "/ImagesWhitelist/0", "has a character that no image reference can have"),
    ("ImagesWhitelist", ["a:*\n"], "/ImagesWhitelist/0", "has a character that no image reference can have"),
    ("Resources", [], "/Resources", "must be an object"),
    ("Resources", {"requests": {}}, "/Resources/requests", "unknown field; did you mean Requests?"),
    ("Resources", {"Overhead": {}}, "/Resources/Overhead", "unknown field"),
    ("Resources", {"Requests": ["cpu"]}, "/Resources/Requests", "must be an object"),
    ("Resources", {"Requests": {"cpu": 1}}, "/Resources/Requests/cpu", "must be a string"),
    ("Resources", {"Limits": {"memory": ""}}, "/Resources/Limits/memory", "must not be empty"),
    ("Resources", {"Limits": {"memory": "400mb"}}, "/Resources/Limits/memory", NOT_A_QUANTITY),
    ("Resources", {"Limits": {"memory": "400Mi\n"}}, "/Resources/Limits/memory", NOT_A_QUANTITY),
    ("Resources", {"Limits": {"cpu": "-1"}}, "/Resources/Limits/cpu", "a quantity must not be negative"),
    ("Resources", {"Limits": {"cpu": "0.1n"}}, "/Resources/Limits/cpu", "finer than 1n, which Kubernetes would round"),
    ("Resources", {"Limits": {"CPU": "1"}}, "/Resources/Limits/CPU", NOT_A_RESOURCE),
    ("Resources", {"Limits": {"gpu": "1"}}, "/Resources/Limits/gpu", NOT_A_RESOURCE),
    ("Resources", {"Limits": {"a..b/gpu": "1"}}, "/Resources/Limits/a..b~1gpu", NOT_A_RESOURCE),
    ("Resources", {"Limits": {"cpu\n": "1"}}, "/Resources/Limits/cpu\n", NOT_A_RESOURCE),
    (
        "Resources",
        {"Requests": {"cpu": "1.0001"}, "Limits": {"cpu": "1"}},
        "/Resources/Requests/cpu",
        "larger than the limit of the same resource",
    ),
    ("DependsOn", "fibonacci1", "/DependsOn", "must be an array"),
    ("DependsOn", ["a", None], "/DependsOn/1", NOT_A_WORKLOAD),
    ("DependsOn", ["a", "a"], "/DependsOn", "has an item twice"),
    ("DependsOn", ["Web"], "/DependsOn/0", NOT_A_WORKLOAD),
    ("DependsOn", [""], "/DependsOn/0", NOT_A_WORKLOAD),
    ("DependsOn", ["a\n"], "/DependsOn/0", NOT_A_WORKLOAD),
    ("DependsOn", ["a" * 254], "/DependsOn/0", NOT_A_WORKLOAD),
    ("DependsOn", ["other/app"], "/DependsOn/0", NOT_A_WORKLOAD),
    ("Environments", {"A": "x"}, "/Environments", "must be an array"),
    ("Environments", ["A=x"], "/Environments/0", "must be an object"),
    ("Environments", [{"Value": "x"}], "/Environments/0", "needs exactly one Name"),
    ("Environments", [{"Name": "A", "name": "A", "Value": "x"}], "/Environments/0", "needs exactly one Name"),
    ("Environments", [{"Name": "A", "Value": "x", "value": "x"}], "/Environments/0", ONE_OF),
    ("Environments", [{"Name": "A", "Value": "x", "SecretRef": SECRET}], "/Environments/0", ONE_OF),
    ("Environments", [{"Name": "A", "value": "x", "SecretRef": SECRET}], "/Environments/0", ONE_OF),
    ("Environments", [{"Name": "A", "Value": "", "value": "x"}], "/Environments/0", ONE_OF),
    (
        "Environments",
        [{"Name": "A", "Value": "", "SecretRef": SECRET, "ConfigMapRef": SECRET}],
        "/Environments/0",
        ONE_OF,
    ),
    (
        "Environments",
        [{"Name": "A", "ResourceFieldRef": {"ContainerName": "sidecar", "Resource": "limits.cpu"}}],
        "/Environments/0/ResourceFieldRef/ContainerName",
        "not the run's container, which has the definition's name; leave ContainerName out",
    ),
    ("Environments", [{"Name": "A", "Value": 5}], "/Environments/0/Value", "must be a string"),
    ("Environments", [{"Name": "A", "Value": None}], "/Environments/0/Value", "must be a string"),
    ("Environments", [{"Name": "A\n", "Value": "x"}], "/Environments/0/Name", NOT_A_VARIABLE),
    ("Environments", [{"Name": "A=x", "Value": "x"}], "/Environments/0/Name", NOT_A_VARIABLE),
    ("Environments", [{"Name": "", "Value": "x"}], "/Environments/0/Name", NOT_A_VARIABLE),
    ("Environments", [{"Name": "É", "Value": "x"}], "/Environments/0/Name", NOT_A_VARIABLE),
    ("Environments", [{"name": "SLIMFAAS_JOB_ID", "Value": "x"}], "/Environments/0/name", NOT_A_VARIABLE),
    (
        "Environments",
        [{"Name": "A", "Value": "x"}, {"name": "A", "value": "y"}],
        "/Environments/1",
        "named twice",
    ),
    (
        "Environments",
        [{"Name": "A", "SecretRef": {"Name": "api"}}],
        "/Environments/0/SecretRef/Key",
        "required, but missing",
    ),
    (
        "Environments",
        [{"Name": "A", "SecretRef": {"Name": "api/x", "Key": "k"}}],
        "/Environments/0/SecretRef/Name",
        "not the name of a Secret or ConfigMap (a DNS subdomain)",
    ),
    (
        "Environments",
        [{"Name": "A", "ConfigMapRef": {"Name": "api", "Key": "../k"}}],
        "/Environments/0/ConfigMapRef/Key",
        "not a key of a Secret or ConfigMap (letters, digits, -, . and _)",
    ),
    (
        "Environments",
        [{"Name": "A", "SecretRef": {**SECRET, "Namespace": "b"}}],
        "/Environments/0/SecretRef/Namespace",
        "unknown field; did you mean Name?",
    ),
    ("Environments", [{"Name": "A", "FieldRef": "x"}], "/Environments/0/FieldRef", "must be an object"),
    ("Environments", [{"Name": "A", "FieldRef": {}}], "/Environments/0/FieldRef/FieldPath", "required, but missing"),
    (
        "Environments",
        [{"Name": "A", "ResourceFieldRef": {"Resource": "limits.memory", "Divisor": "1MB"}}],
        "/Environments/0/ResourceFieldRef/Divisor",
        NOT_A_QUANTITY,
    ),
    *(
        (field, value, f"/{field}", message)
        for field, least in (
            ("BackoffLimit", 0),
            ("NumberParallelJob", 1),
            ("MaxQueued", 1),
            ("TimeoutSeconds", 1),
            ("PendingTimeoutSeconds", 1),
            ("TtlSecondsAfterFinished", 0),
        )
        for value, message in (
            ("1", "must be an integer"),
            (True, "must be an integer"),
            (1.0, "must be an integer"),
            (1.5, "must be an integer"),
            (None, "must be an integer"),
            (least - 1, f"must be at least {least}"),
            (INT32_MAX + 1, f"must be at most {INT32_MAX}"),
            (10**4000, f"must be at most {INT32_MAX}"),
        )
    ),
    ("Visibility", "public", "/Visibility", "must be one of Public, Private"),
    ("Visibility", None, "/Visibility", "must be one of Public, Private"),
    ("Visibility", {}, "/Visibility", "must be one of Public, Private"),
    ("RestartPolicy", "Always", "/RestartPolicy", "must be one of Never, OnFailure"),
    ("RestartPolicy", "Never\n", "/RestartPolicy", "must be one of Never, OnFailure"),
    ("Args", "42", "/Args", "must be an array"),
    ("Args", ["42", 43], "/Args/1", "must be a string"),
    ("Command", [], "/Command", "must not be empty"),
    ("Command", "sh", "/Command", "must be an array"),
    ("Command", [["sh"]], "/Command/0", "must be a string"),
    ("ServiceAccountName", "", "/ServiceAccountName", NOT_AN_ACCOUNT),
    ("ServiceAccountName", None, "/ServiceAccountName", NOT_AN_ACCOUNT),
    ("ServiceAccountName", "Reporter", "/ServiceAccountName", NOT_AN_ACCOUNT),
    ("ServiceAccountName", "reporter\n", "/ServiceAccountName", NOT_AN_ACCOUNT),
    ("ServiceAccountName", "other:reporter", "/ServiceAccountName", NOT_AN_ACCOUNT),
    ("ServiceAccountName", "a" * 254, "/ServiceAccountName", NOT_AN_ACCOUNT),
    ("SecurityContext", [], "/SecurityContext", "must be an object"),
    ("SecurityContext", None, "/SecurityContext", "must be an object"),
    ("SecurityContext", {"Privileged": True}, "/SecurityContext/Privileged", NEVER_PRIVILEGED),
    ("SecurityContext", {"privileged": False}, "/SecurityContext/privileged", NEVER_PRIVILEGED),
    (
        "SecurityContext",
        {"ProcMount": "Unmasked"},
        "/SecurityContext/ProcMount",
        'cannot be set: the Pod Security Standard "baseline" allows only the default',
    ),
    (
        "SecurityContext",
        {"runAsUser": 1},
        "/SecurityContext/runAsUser",
        "unknown field; did you mean RunAsUser?",
    ),
    ("SecurityContext", {"Sysctls": []}, "/SecurityContext/Sysctls", "unknown field"),
    (
        "SecurityContext",
        {"RunAsNonRoot": True, "RunAsUser": 0},
        "/SecurityContext/RunAsUser",
        "0 is root, which RunAsNonRoot forbids",
    ),
    *(
        ("SecurityContext", {field: value}, f"/SecurityContext/{field}", message)
        for field in ("RunAsUser", "RunAsGroup", "FsGroup")
        for value, message in (
            ("1000", "must be an integer"),
            (True, "must be an integer"),
            (1.0, "must be an integer"),
            (None, "must be an integer"),
            (-1, "must be at least 0"),
            (INT32_MAX + 1, f"must be at most {INT32_MAX}"),
        )
    ),
    *(
        ("SecurityContext", {field: value}, f"/SecurityContext/{field}", "must be a boolean")
        for field in ("RunAsNonRoot", "ReadOnlyRootFilesystem", "AllowPrivilegeEscalation")
        for value in ("true", 1, None)
    ),
    ("SecurityContext", {"SupplementalGroups": 7}, "/SecurityContext/SupplementalGroups", "must be an array"),
    ("SecurityContext", {"SupplementalGroups": [0, -1]}, "/SecurityContext/SupplementalGroups/1", "must be at least 0"),
    (
        "SecurityContext",
        {"SupplementalGroups": [7, 7]},
        "/SecurityContext/SupplementalGroups",
        "has an item twice",
    ),
    ("SecurityContext", {"Capabilities": ["ALL"]}, "/SecurityContext/Capabilities", "must be an object"),
    ("SecurityContext", {"Capabilities": {"Drop": "ALL"}}, "/SecurityContext/Capabilities/Drop", "must be an array"),
    *(
        ("SecurityContext", {"Capabilities": {part: [name]}}, f"/SecurityContext/Capabilities/{part}/0", message)
        for part, name, message in (
            ("Add", "SYS_ADMIN", NOT_ADDABLE),
            ("Add", "NET_RAW", NOT_ADDABLE),
            ("Add", "ALL", NOT_ADDABLE),
            ("Add", "CAP_CHOWN", NOT_ADDABLE),
            ("Add", "chown", NOT_ADDABLE),
            ("Add", ["CHOWN"], NOT_ADDABLE),
            ("Drop", "all", NOT_A_CAPABILITY),
            ("Drop", "CAP_NET_RAW", NOT_A_CAPABILITY),
            ("Drop", "NET_RAV", NOT_A_CAPABILITY),
            ("Drop", None, NOT_A_CAPABILITY),
        )
    ),
    (
        "SecurityContext",
        {"Capabilities": {"Add": ["KILL", "CHOWN"], "Drop": ["ALL", "CHOWN"]}},
        "/SecurityContext/Capabilities/Add/1",
        "is also in Drop",
    ),
    ("SecurityContext", {"SeccompProfile": {}}, "/SecurityContext/SeccompProfile/Type", "required, but missing"),
    ("SecurityContext", {"SeccompProfile": "RuntimeDefault"}, "/SecurityContext/SeccompProfile", "must be an object"),
    (
        "SecurityContext",
        {"SeccompProfile": {"Type": "Unconfined"}},
        "/SecurityContext/SeccompProfile/Type",
        NOT_A_PROFILE_TYPE,
    ),
    (
        "SecurityContext",
        {"SeccompProfile": {"Type": "Localhost"}},
        "/SecurityContext/SeccompProfile/LocalhostProfile",
        "required if Type is Localhost, but missing",
    ),
    (
        "SecurityContext",
        {"SeccompProfile": {"Type": "RuntimeDefault", "LocalhostProfile": "a.json"}},
        "/SecurityContext/SeccompProfile/LocalhostProfile",
        "allowed only if Type is Localhost",
    ),
    *(
        (
            "SecurityContext",
            {"SeccompProfile": {"Type": "Localhost", "LocalhostProfile": path}},
            "/SecurityContext/SeccompProfile/LocalhostProfile",
            NOT_A_PROFILE,
        )
        for path in ("", "/a", "..", "../a", "a/..", "a/../b", "a\n/../b", "a\n", "a//b", "a b", None, ["a"])
    ),
]


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    ACCEPTED,
    ids=[f"{row[0]}-{index}" for index, row in enumerate(ACCEPTED)],
)
def test_parse_configuration__keeps_each_valid_value_of_a_field(
    field: str, value: Any, attribute: str, expected: Any
) -> None:
    assert getattr(read(**{field: value}), attribute) == expected


@pytest.mark.parametrize(
    ("field", "value", "pointer", "message"), REFUSED, ids=[f"{row[0]}-{index}" for index, row in enumerate(REFUSED)]
)
def test_parse_configuration__reports_each_invalid_value_of_a_field_with_its_pointer(
    field: str, value: Any, pointer: str, message: str
) -> None:
    assert (pointer, message) in faults_in(**{field: value})


def test_parse_configuration__applies_the_documented_defaults() -> None:
    """Only Image is required."""
    assert read() == Definition(
        name="job",
        image="team/app:1",
        images_whitelist=(),
        requests={},
        limits={},
        depends_on=(),
        environments=(),
        backoff_limit=None,
        visibility="Private",
        number_parallel_job=1,
        max_queued=None,
        timeout_seconds=None,
        pending_timeout_seconds=None,
        ttl_seconds_after_finished=None,
        restart_policy="Never",
        command=None,
        args=None,
        service_account_name=None,
        security_context=SecurityContext(
            run_as_user=None,
            run_as_group=None,
            run_as_non_root=None,
            fs_group=None,
            supplemental_groups=(),
            read_only_root_filesystem=None,
            allow_privilege_escalation=False,
            added_capabilities=(),
            dropped_capabilities=(),
            seccomp_profile=SeccompProfile("RuntimeDefault"),
        ),
    )


def test_parse_configuration__refuses_a_definition_without_an_image() -> None:
    assert faults_of('{"Configurations": {"job": {}}}') == [(f"{JOB}/Image", "required, but missing")]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("image", "Image"),
        ("ImageWhitelist", "ImagesWhitelist"),
        ("Resource", "Resources"),
        ("dependsOn", "DependsOn"),
        ("Environment", "Environments"),
        ("BackOffLimit", "BackoffLimit"),
        ("Visiblity", "Visibility"),
        ("NumberParallelJobs", "NumberParallelJob"),
        ("TtlSecondAfterFinished", "TtlSecondsAfterFinished"),
        ("restartPolicy", "RestartPolicy"),
        ("Arg", "Args"),
        ("Comand", "Command"),
        ("ServiceAccount", "ServiceAccountName"),
        ("securityContext", "SecurityContext"),
    ],
)
def test_parse_configuration__suggests_the_nearest_field_for_an_unknown_one(given: str, meant: str) -> None:
    assert faults_in(**{given: []}) == [(f"/{given}", f"unknown field; did you mean {meant}?")]


def test_parse_configuration__suggests_name_in_its_documented_spelling() -> None:
    """Not its lower-case alias."""
    assert ("/Environments/0/Nmae", "unknown field; did you mean Name?") in faults_in(**variables({"Nmae": "A"}))


@pytest.mark.parametrize("name", ["a", "fibonacci", "a-1", "0", "a" * 30])
def test_parse_configuration__accepts_short_dns_labels_as_names(name: str) -> None:
    assert list(parse_configuration(json.dumps({"Configurations": {name: {"Image": "a"}}}))) == [name]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("", ""),
        ("A-", "A-"),
        ("\u212a", "\u212a"),
        ("a" * 31, "a" * 31),
        ("-a", "-a"),
        ("a-", "a-"),
        ("a.b", "a.b"),
        ("a_b", "a_b"),
        ("a/b~", "a~1b~0"),
        ("a\n", "a\n"),
        ("é", "é"),
        ("a-slimfaas-job-b", "a-slimfaas-job-b"),
        ("a-SlimFaas-Job-b", "a-SlimFaas-Job-b"),
    ],
)
def test_parse_configuration__refuses_other_names(name: str, step: str) -> None:
    """Also those that would make the name of a Job ambiguous, and those with a trailing line feed."""
    ((pointer, message),) = faults_of(json.dumps({"Configurations": {name: {"Image": "a"}}}))

    assert pointer == f"/Configurations/{step}"
    assert "DNS label of at most 30 characters" in message


def test_parse_configuration__takes_names_in_lower_case_and_keeps_their_pointers() -> None:
    definitions = parse_configuration('{"Configurations": {"Fibonacci": {"Image": "a"}}}')
    assert list(definitions) == [definitions["fibonacci"].name] == ["fibonacci"]
    assert definitions["fibonacci"].pointer("Image") == "/Configurations/Fibonacci/Image"


def test_parse_configuration__refuses_two_names_that_differ_only_in_case() -> None:
    document = json.dumps({"Configurations": {name: {"Image": "a"} for name in ("fib", "Fib", "FIB")}})
    assert faults_of(document) == [
        (f"/Configurations/{name}", "the same name as fib: capitals count as lower case") for name in ("FIB", "Fib")
    ]


@pytest.mark.parametrize(
    ("document", "pointer", "message"),
    [
        ("", "", "not JSON: "),
        ("{", "", "not JSON: "),
        ("{} # comment", "", "not JSON: "),
        ('{"Configurations": {"a": NaN}}', "", "not JSON: NaN"),
        ("[" * 5000 + "]" * 5000, "", "not JSON: nested deeper"),
        ("null", "", "must be an object"),
        ("[]", "", "must be an object"),
        ("{}", "/Configurations", "required, but missing"),
        ('{"Configurations": null}', "/Configurations", "must be an object"),
        ('{"Configurations": []}', "/Configurations", "must be an object"),
        ('{"Configurations": {"a": null}}', "/Configurations/a", "must be an object"),
        ('{"configurations": {}}', "/configurations", "unknown field; did you mean Configurations?"),
        ('{"Configurations": {}, "Configurations": {}}', "/Configurations", "given more than once"),
        ('{"Configurations": {"a": {"Image": "x", "Image": "x"}}}', "/Configurations/a/Image", "given more than once"),
        ('{"Configurations": {"a": {"Image": "x"}, "a": {"Image": "x"}}}', "/Configurations/a", "given more than once"),
        (
            '{"Configurations": {"a": {"Image": "x", "Args": ["\\u0000"]}}}',
            "/Configurations/a/Args/0",
            "contains a NUL",
        ),
        ('{"Configurations": {"a": {"Image": "x", "Args": ["\\ud800"]}}}', "/Configurations/a/Args/0", "contains half"),
        (
            '{"Configurations": {"a": {"Image": "x", "BackoffLimit": 1e0}}}',
            "/Configurations/a/BackoffLimit",
            "must be an i",
        ),
        (
            '{"Configurations": {"a": {"Image": "x", "BackoffLimit": 1e999}}}',
            "/Configurations/a/BackoffLimit",
            "must be",
        ),
    ],
)
def test_parse_configuration__refuses_documents_of_another_form(document: str, pointer: str, message: str) -> None:
    assert any(where == pointer and what.startswith(message) for where, what in faults_of(document))


def test_parse_configuration__accepts_a_byte_order_mark() -> None:
    """Some editors write one, and `slimfaas-jobs validate` has always accepted it."""
    assert parse_configuration('\ufeff{"Configurations": {}}') == {}
    assert len(faults_of('\ufeff\ufeff{"Configurations": {}}')) == 1  # a second one is no longer one


def test_parse_configuration__refuses_a_part_of_a_byte() -> None:
    [(pointer, message)] = faults_in(Resources={"Requests": {"memory": "100m", "cpu": "100m"}})
    assert pointer.endswith("/Resources/Requests/memory")
    assert "100Mi" in message


def test_parse_configuration__accepts_an_empty_configuration_with_a_schema() -> None:
    """$schema is for editors."""
    assert parse_configuration('{"$schema": "https://example.com/x.json", "Configurations": {}}') == {}


def test_parse_configuration__keeps_the_order_of_the_definitions() -> None:
    document = json.dumps({"Configurations": {name: {"Image": "a"} for name in ("c", "a", "b")}})

    assert list(parse_configuration(document)) == ["c", "a", "b"]


def test_parse_configuration__reports_all_faults_at_once() -> None:
    """Those of the schema, those beyond the schema and those of ambiguous JSON, of all definitions."""
    document = """{"Configurations": {
        "Bad-": {"Image": "x"},
        "one": {"Image": "UPPER", "Visiblity": "Public", "BackoffLimit": -1, "BackoffLimit": -1,
                "Resources": {"Requests": {"cpu": "2", "memory": "lots"}, "Limits": {"cpu": "1"}}},
        "two": {"Environments": [{"Name": "A", "Value": "x"}, {"Name": "A", "Value": 1}]}
    }}"""

    assert [pointer for pointer, _ in faults_of(document)] == [
        "/Configurations/Bad-",
        "/Configurations/one/BackoffLimit",
        "/Configurations/one/BackoffLimit",
        "/Configurations/one/Image",
        "/Configurations/one/Resources/Requests/cpu",
        "/Configurations/one/Resources/Requests/memory",
        "/Configurations/one/Visiblity",
        "/Configurations/two/Environments/1",
        "/Configurations/two/Environments/1/Value",
        "/Configurations/two/Image",
    ]


LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
)
DEFINITION_KEYS = list(load_schema()["$defs"]["definition"]["properties"])
VARIABLE_KEYS = list(load_schema()["$defs"]["environment"]["properties"])
SCHEMA_KEYS = st.sampled_from(
    [*DEFINITION_KEYS, *VARIABLE_KEYS, "Configurations", "Requests", "Limits", "cpu", "Key", "Divisor", "_schema"]
)
JSON = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCHEMA_KEYS | st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


def find(document: Any, pointer: str) -> bool:
    """Whether a JSON pointer leads to a value of the document, or to a missing member of an object there."""
    if not pointer:
        return True
    *steps, last = (step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])
    for step in steps:
        document = document[int(step)] if isinstance(document, list) else document[step]
    return isinstance(document, dict) or (isinstance(document, list) and int(last) < len(document))


def faults_if_any(document: str) -> tuple[Fault, ...] | None:
    """The faults of a document, or `None` if it is a configuration."""
    try:
        parse_configuration(document)
    except Refused as refused:
        return refused.faults
    return None


@given(st.text(max_size=60))
def test_parse_configuration__accepts_or_refuses_any_text(text: str) -> None:
    """No other exception is raised."""
    assert faults_if_any(text) != ()


@given(st.one_of(JSON, st.builds(lambda entry: {"Configurations": {"job": entry}}, JSON)))
def test_parse_configuration__accepts_or_refuses_any_json_with_valid_pointers(document: Any) -> None:
    """Each pointer leads into the document."""
    faults = faults_if_any(json.dumps(document))

    assert faults != ()
    assert all(find(document, fault.pointer) for fault in faults or ())


VALUE = "hunter2-correct-horse"
BROKEN = st.sampled_from([VALUE, VALUE + "\0", VALUE + "\ud800", [VALUE], {"From": VALUE}, [{"Value": VALUE}]])
NAMES = st.sampled_from(["A", "B", "1", "", "SLIMFAAS_X", f"A={VALUE}", f"${VALUE}", None, 1, [VALUE]])
VARIABLES = st.lists(
    st.dictionaries(st.sampled_from(["Value", "value", "Valeu", "SecretRef", "FieldRef"]), BROKEN, max_size=3).flatmap(
        lambda entry: st.dictionaries(st.sampled_from(["Name", "name", "nam"]), NAMES, max_size=2).map(
            lambda named: {**entry, **named}
        )
    )
    | st.just(f"A={VALUE}"),
    max_size=3,
)


@given(VARIABLES, st.dictionaries(st.sampled_from(["Image", "Args", "BackoffLimit", "envs", "Command"]), JSON))
def test_parse_configuration__never_repeats_the_value_of_a_variable(entries: list[Any], others: dict[str, Any]) -> None:
    """However the variables are written: the value may be a secret."""
    entry = {"Image": "UPPER", **others, "Environments": entries}

    with pytest.raises(Refused) as refused:
        parse_configuration(json.dumps({"Configurations": {"job": entry, "job2": {}}}))

    assert VALUE not in str(refused.value)
    assert VALUE not in repr(refused.value.faults)
    assert VALUE not in str(refused.value.__cause__)


def test_parse_configuration__refuses_truncated_json_without_quoting_it() -> None:
    document = json.dumps({"Configurations": {"job": {"Environments": [{"Name": "A", "Value": VALUE}]}}})

    for end in range(len(document)):
        with pytest.raises(Refused) as refused:
            parse_configuration(document[:end])
        assert VALUE[:7] not in str(refused.value)


def test_parse_configuration__sorts_faults_and_drops_duplicates() -> None:
    with pytest.raises(Refused) as refused:
        parse_configuration('{"Configurations": {"x": {"Image": 1}, "UP.": {"Image": ""}, "a": 3}}')

    assert list(refused.value.faults) == sorted(set(refused.value.faults))
    assert all(isinstance(fault, Fault) for fault in refused.value.faults)


def test_parse_configuration__bounds_the_dependencies_of_a_definition() -> None:
    """Every run carries them in an annotation, which anybody could have written, so they are read within bounds."""
    assert len(read(DependsOn=[f"w{number}" for number in range(64)]).depends_on) == 64
    pointer = "/DependsOn"
    assert faults_in(DependsOn=[f"w{number}" for number in range(65)]) == [(pointer, "must have at most 64 items")]
    long = [f"{number}" + "a" * 250 for number in range(17)]
    assert faults_in(DependsOn=long) == [(pointer, "the names have 4274 bytes together, more than 4096")]
