"""Why a pod could not be created or started, as Events tell it."""

from typing import Any

import pytest

from app.kube.parsing import read_time
from app.kube.pod_events import MAX_LENGTH, find_last_refusal, find_mount_failure

Json = dict[str, Any]


def make_event(message: str | None = "Error creating: no", **fields: Any) -> Json:
    return {
        "metadata": {"name": "fib.17f", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "reason": "FailedCreate",
        "lastTimestamp": "2026-01-01T00:00:05Z",
        "message": message,
        **fields,
    }


def message_of(text: str | None) -> str:
    found = find_last_refusal([make_event(text)])
    assert found is not None
    return found.message


def test_find_last_refusal__of_no_event_is_nothing() -> None:
    assert find_last_refusal([]) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'Error creating: pods "fib-x" is forbidden: error looking up service account a/b',
            'pods "fib-x" is forbidden: error looking up service account a/b',
        ),
        (
            '(combined from similar events): Error creating: pods "fib-x" is forbidden: failed quota: few',
            'pods "fib-x" is forbidden: failed quota: few',
        ),
        (
            'Error creating: admission webhook "policy.example.com" denied the request: label team is missing',
            'admission webhook "policy.example.com" denied the request: label team is missing',
        ),
        ("something else", "something else"),
        (None, ""),
    ],
    ids=["a missing ServiceAccount", "an Event for many", "a policy", "other words", "no message"],
)
def test_find_last_refusal__tells_the_refusal_itself(text: str | None, told: str) -> None:
    assert message_of(text) == told


def test_find_last_refusal__leaves_out_what_others_use_of_a_quota() -> None:
    text = (
        'Error creating: pods "fib-x" is forbidden: exceeded quota: compute, '
        "requested: limits.cpu=1,limits.memory=1Gi, used: limits.cpu=7500m,limits.memory=30Gi, "
        "limited: limits.cpu=8,limits.memory=30Gi"
    )
    assert message_of(text) == (
        'pods "fib-x" is forbidden: exceeded quota: compute, requested: limits.cpu=1,limits.memory=1Gi'
    )


def test_find_last_refusal__leaves_out_where_a_webhook_is_that_does_not_answer() -> None:
    text = (
        'Error creating: Internal error occurred: failed calling webhook "policy.example.com": failed to call webhook: '
        'Post "https://policy.kyverno.svc:443/?timeout=10s": dial tcp 10.96.14.7:443: connect: connection refused'
    )
    assert message_of(text) == 'Internal error occurred: failed calling webhook "policy.example.com"'


def test_find_last_refusal__makes_hostile_text_one_short_printable_line() -> None:
    assert message_of("Error creating: a\r\nb\x1b[31m\u202e\x00c") == "a b?[31m??c"
    long = message_of("Error creating: " + "x" * 1_000_000)
    assert (len(long), long[-1]) == (MAX_LENGTH, "…")


@pytest.mark.parametrize(
    "fields",
    [
        {"lastTimestamp": "2026-01-01T00:01:00Z"},
        {"lastTimestamp": None, "eventTime": "2026-01-01T00:01:00.000000Z"},
        {"lastTimestamp": None, "eventTime": "2026-01-01T00:00:01.000000Z",
         "series": {"count": 3, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}},
    ],
    ids=["of core/v1", "of events.k8s.io", "repeated, of events.k8s.io"],
)  # fmt: skip
def test_find_last_refusal__is_the_newest_of_either_api(fields: Json) -> None:
    found = find_last_refusal([make_event("old"), make_event("new", **fields), make_event("old")])
    assert found is not None
    assert (found.message, found.at) == ("new", read_time("2026-01-01T00:01:00Z"))


def test_find_last_refusal__takes_the_creation_where_an_event_has_no_time() -> None:
    found = find_last_refusal([make_event(lastTimestamp=None, eventTime="yesterday")])
    assert found is not None
    assert found.at == read_time("2026-01-01T00:00:00Z")


NO_SECRET = 'MountVolume.SetUp failed for volume "data" : secret "data" not found'
SUMMARY = "Unable to attach or mount volumes: unmounted volumes=[data]: timed out waiting for the condition"


def make_pod_event(second: int, reason: str, message: str = "") -> Json:
    """Make an Event on a pod, which happened last at this second."""
    return make_event(message, reason=reason, lastTimestamp=f"2026-01-01T00:00:{second:02}Z")


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], None),
        ([(3, "Scheduled", "assigned to a node"), (4, "FailedScheduling", "no node")], None),
        ([(3, "FailedMount", NO_SECRET)], NO_SECRET),
        ([(3, "FailedAttachVolume", "Multi-Attach error")], "Multi-Attach error"),
        ([(9, "FailedMount", NO_SECRET), (3, "FailedMount", "earlier")], NO_SECRET),
        ([(3, "FailedMount", NO_SECRET), (9, "FailedMount", SUMMARY)], NO_SECRET),
        ([(9, "FailedMount", SUMMARY)], SUMMARY),
        ([(3, "FailedMount", NO_SECRET), (9, "FailedMount", SUMMARY), (5, "Pulling", "")], NO_SECRET),
        ([(3, "FailedMount", NO_SECRET), (4, "Pulling", "")], None),
        ([(3, "FailedMount", NO_SECRET), (3, "Pulling", "")], NO_SECRET),
        ([(3, "FailedMount", NO_SECRET), (9, "PolicyViolation", "a label is missing")], NO_SECRET),
    ],
    ids=[
        "no Event", "other Events", "a mount", "an attachment", "the newest", "not the summary", "only the summary",
        "the summary came last", "mounted since", "within a second", "another Event since",
    ],
)  # fmt: skip
def test_find_mount_failure__tells_what_keeps_the_volumes_away(
    events: list[tuple[int, str, str]], told: str | None
) -> None:
    found = find_mount_failure(make_pod_event(*event) for event in events)
    assert (found and found.message) == told


def test_find_mount_failure__leaves_out_the_command_on_the_node() -> None:
    text = (
        'MountVolume.SetUp failed for volume "nfs" : mount failed: exit status 32\n'
        "Mounting command: mount\n"
        "Mounting arguments: -t nfs 10.0.0.1:/export /var/lib/kubelet/pods/8a1/volumes/kubernetes.io~nfs/nfs\n"
        "Output: mount.nfs: access denied by server\n"
    )
    found = find_mount_failure([make_pod_event(3, "FailedMount", text)])
    assert found is not None
    assert found.message.rstrip() == (
        'MountVolume.SetUp failed for volume "nfs" : mount failed: exit status 32 '
        "Output: mount.nfs: access denied by server"
    )
