"""The annotations by which a repeated call recognizes what an earlier call with its Idempotency-Key has created."""

from enum import Enum

from app.common.types import Json
from app.domain.idempotency import IdempotentRequest
from app.kube import labels
from app.kube.parsing import is_run


class KeyMatch(Enum):
    """How an object whose name an Idempotency-Key leads to relates to the request with that key."""

    SAME_REQUEST = "that of an earlier call with the same key and the same request"
    OTHER_REQUEST = "that of an earlier call with the same key and another request"
    OTHER_KEY = "an object that has nothing to do with the key"


def idempotency_annotations(request: IdempotentRequest) -> dict[str, str]:
    """Build the annotations of the object that a request with a key creates."""
    return {
        labels.KEY_ANNOTATION: request.key_digest.hex(),
        labels.REQUEST_ANNOTATION: request.request_digest.hex(),
    }


def match_key(request: IdempotentRequest, item: Json) -> KeyMatch:
    """Compare a request with the Job of the run, or the CronJob of the schedule, that bears the name of its key.

    A schedule that is being deleted does not exist any more for callers, and soon its name will be free.
    """
    annotations = item["metadata"].get("annotations") or {}
    expected = idempotency_annotations(request)
    if (
        not is_run(item)
        or item["metadata"]["labels"][labels.DEFINITION_LABEL] != request.definition
        or annotations.get(labels.KEY_ANNOTATION) != expected[labels.KEY_ANNOTATION]
        or (labels.SCHEDULE_ORIGIN_LABEL in item["metadata"]["labels"] and "deletionTimestamp" in item["metadata"])
    ):
        return KeyMatch.OTHER_KEY
    same = annotations.get(labels.REQUEST_ANNOTATION) == expected[labels.REQUEST_ANNOTATION]
    return KeyMatch.SAME_REQUEST if same else KeyMatch.OTHER_REQUEST
