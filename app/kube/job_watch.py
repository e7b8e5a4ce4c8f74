"""The changes of one Job, for as long as one watch lasts."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from app.common.types import Json
from app.kube.cancel_token import CancelToken
from app.kube.client import NamespacedClient
from app.kube.errors import UnavailableError, error_of

_GRACE_SECONDS = 10.0
"""How much longer than it was asked for a watch may last before it counts as dead."""


@dataclass(frozen=True, slots=True)
class JobChange:
    """A Job after something has happened to it.

    Attributes:
        job: as it is now, or as it was at last.
        deleted: whether it is gone.
    """

    job: Json
    deleted: bool


def watch_job(client: NamespacedClient, job: Json, *, seconds: int, cancel_token: CancelToken) -> Iterator[JobChange]:
    """What happens to a Job after it was read, in order, until the API server ends the watch.

    https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes

    Args:
        client: of the Job.
        job: as it was read.
        seconds: how long the API server is asked to keep the watch open.
        cancel_token: ends it sooner.

    Raises:
        ExpiredError: too much has happened since the Job was read; read it again.
        ClusterError: the watch broke or was interrupted; read the Job again.
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
