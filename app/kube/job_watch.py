"""The changes of one Job, for as long as one watch lasts."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from app.common.types import Json
from app.kube.cancel_token import CancelToken
from app.kube.client import NamespacedClient
from app.kube.errors import UnavailableError, error_of

_GRACE_SECONDS = 10.0
"""How many seconds longer than requested a watch may last before it counts as dead."""


@dataclass(frozen=True, slots=True)
class JobChange:
    """A Job after something has happened to it.

    Attributes:
        job: as it is now; of a deleted one, as it was last.
        deleted: whether it has been deleted.
    """

    job: Json
    deleted: bool


def watch_job(client: NamespacedClient, job: Json, *, seconds: int, cancel_token: CancelToken) -> Iterator[JobChange]:
    """Yield the changes of a Job since it was read, in order, until the API server ends the watch.

    https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes

    Args:
        client: of the Job.
        job: as it was read.
        seconds: how long the API server is asked to keep the watch open.
        cancel_token: ends it sooner.

    Raises:
        ExpiredError: the API server no longer has the changes since the Job was read; read it again.
        ClusterError: the watch broke or was cancelled; read the Job again.
    """
    query: dict[str, str | int] = {
        "watch": "true",
        "fieldSelector": f"metadata.name={job['metadata']['name']}",
        "resourceVersion": job["metadata"]["resourceVersion"],
        "timeoutSeconds": seconds,
    }
    path = client.runs.path
    whole_seconds = seconds + _GRACE_SECONDS
    with client.transport.stream(
        path, query, silence_seconds=whole_seconds, whole_seconds=whole_seconds, cancel_token=cancel_token
    ) as stream:
        for line in stream.lines():
            try:
                event = json.loads(line)
                kind, changed = event["type"], event["object"]
            except (ValueError, KeyError) as error:
                raise UnavailableError("the API server's watch can't be read") from error
            if kind == "ERROR":
                raise error_of(int(changed.get("code") or 500), json.dumps(changed).encode())
            if kind != "BOOKMARK" and changed["metadata"]["uid"] == job["metadata"]["uid"]:
                yield JobChange(changed, kind == "DELETED")
