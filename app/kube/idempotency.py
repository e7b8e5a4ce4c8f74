"""The annotations by which a repeated call recognizes the run that an earlier call with its Idempotency-Key created."""

from enum import Enum

from app.common.types import Json
from app.domain.idempotency import IdempotentRequest
from app.kube import labels
from app.kube.parsing import is_run


class KeyMatch(Enum):
    """How a Job whose name an Idempotency-Key leads to relates to the request with that key."""

    SAME_REQUEST = "the run of an earlier call with the same key and the same request"
    OTHER_REQUEST = "the run of an earlier call with the same key and another request"
    OTHER_KEY = "a Job that has nothing to do with the key"


def idempotency_annotations(request: IdempotentRequest) -> dict[str, str]:
    """Build the annotations of the run that a request with a key creates."""
    return {
        labels.KEY_ANNOTATION: request.key_digest.hex(),
        labels.REQUEST_ANNOTATION: request.request_digest.hex(),
    }


def match_job(request: IdempotentRequest, job: Json) -> KeyMatch:
    """Compare a request with the Job that bears the run's name."""
    annotations = job["metadata"].get("annotations") or {}
    expected = idempotency_annotations(request)
    if (
        not is_run(job)
        or job["metadata"]["labels"][labels.DEFINITION_LABEL] != request.definition
        or annotations.get(labels.KEY_ANNOTATION) != expected[labels.KEY_ANNOTATION]
    ):
        return KeyMatch.OTHER_KEY
    same = annotations.get(labels.REQUEST_ANNOTATION) == expected[labels.REQUEST_ANNOTATION]
    return KeyMatch.SAME_REQUEST if same else KeyMatch.OTHER_REQUEST
