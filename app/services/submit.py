"""Starting a run: one suspended Job, stored before anybody is told so."""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from app.cluster import keys
from app.cluster.client import CALL_SECONDS, Json
from app.cluster.errors import AlreadyExistsError, ClusterError, NotFoundError, ThrottledError
from app.cluster.manifests import build_job
from app.cluster.names import job_name, new_id
from app.cluster.namespace import Namespace
from schemas.definition import Definition
from schemas.faults import Fault, Refused
from schemas.merge import merge
from schemas.request import parse_request

log = logging.getLogger(__name__)

_PAUSES_SECONDS = (0.1, 0.4, 1.0)
"""Between the tries to store a run."""

_LAST_TRY_SECONDS = 4.0
"""After so long no further try begins: the caller had better hear that something is wrong."""

_HORIZON_SECONDS = _LAST_TRY_SECONDS + CALL_SECONDS
"""How long after the first try the last one can still be stored."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that is stored.

    Attributes:
        id: its id within its definition.
        name: of the Kubernetes Job.
    """

    id: str
    name: str


class Submitter:
    """Starts runs.

    Args:
        namespace: where.
        sleep: waits for so many seconds between two tries.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        namespace: Namespace,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._namespace = namespace
        self._sleep = sleep
        self._clock = clock

    def submit(self, definition: Definition, body: bytes, *, path: str = "", query: str = "") -> Accepted:
        """Start a run; when this returns, the API server has stored it.

        Args:
            definition: of the run.
            body: of the call, a request as JSON or nothing.
            path: what the call's path has after the definition's name, decoded.
            query: the call's raw query string.

        Raises:
            schemas.documents.NotJson: the body isn't JSON.
            Refused: the request asks for what isn't allowed.
            ClusterError: the run isn't stored, or nobody can say; see `may_have_happened`.
        """
        spec = merge(definition, parse_request(body))
        if "\0" in path or "\ufffd" in path:
            raise Refused([Fault("", "the path holds a NUL, or bytes that are not UTF-8")])
        run_id, call = new_id(), secrets.token_hex(16)
        job = build_job(spec, run_id, queued_at=datetime.now(UTC), call=call, path=path, query=query)
        self._store(job, call)
        return Accepted(run_id, job_name(definition.name, run_id))

    def _store(self, job: Json, call: str) -> None:
        """Store a Job once, however often it takes to be sure.

        The name was chosen before the first try, so a try that finds it taken by a Job with our own mark has been
        stored by an earlier one. After a lost answer a run that lives but a moment could have come and gone before the
        next try, which would start it a second time: such a run isn't tried again.
        """
        began = self._clock()
        lives_seconds = job["spec"].get("ttlSecondsAfterFinished")
        for pause_seconds in (*_PAUSES_SECONDS, None):
            try:
                self._namespace.create_job(job)
                return
            except AlreadyExistsError:
                if self._is_ours(job["metadata"]["name"], call):
                    return
                raise
            except ClusterError as error:
                again = isinstance(error, ThrottledError) or error.may_have_happened
                short_lived = lives_seconds is not None and lives_seconds <= _HORIZON_SECONDS
                if (
                    not again
                    or pause_seconds is None
                    or (error.may_have_happened and short_lived)
                    or self._clock() - began > _LAST_TRY_SECONDS
                ):
                    raise
                log.warning("storing a run once more: %s", error)
                self._sleep(pause_seconds)

    def _is_ours(self, name: str, call: str) -> bool:
        """Whether the Job of this name was made by this call; one that is gone already must have been."""
        try:
            existing = self._namespace.get_job(name)
        except NotFoundError:
            return True
        annotations = existing["metadata"].get("annotations") or {}
        return bool(annotations.get(keys.CALL_ANNOTATION) == call)
