"""Starting a run: one suspended Job, stored before anybody is told so."""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from app.cluster import keys
from app.cluster.client import CALL_SECONDS, Json
from app.cluster.errors import AlreadyExistsError, ClusterError, InvalidError, NotFoundError, ThrottledError
from app.cluster.manifests import build_job
from app.cluster.names import job_name, new_id
from app.cluster.namespace import Namespace
from schemas.definition import Definition
from schemas.merge import merge
from schemas.request import overridden_fields, read_request

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
        fields: the names of those that the request has overridden, for the log.
    """

    id: str
    name: str
    fields: tuple[str, ...] = ()


class NotStoredError(ClusterError):
    """The API server did not store a run, or nobody can say; `may_have_happened` speaks of all tries together."""

    def __init__(self, error: ClusterError, *, in_doubt: bool) -> None:
        super().__init__(error.message)
        self.may_have_happened = in_doubt


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
            InvalidError: the API server does not accept the run.
            NotStoredError: the run isn't stored, or nobody can say.
        """
        request, faults = read_request(body)
        spec = merge(definition, request, faults)
        run_id, call = new_id(), secrets.token_hex(16)
        job = build_job(spec, run_id, queued_at=datetime.now(UTC), call=call, path=path, query=query)
        self._store(job, call)
        return Accepted(run_id, job_name(definition.name, run_id), overridden_fields(request))

    def _store(self, job: Json, call: str) -> None:
        """Store a Job once, however often it takes to be sure.

        The name was chosen before the first try, so a try that finds it taken by a Job with our own mark has been
        stored by an earlier one. After a lost answer a run that lives but a moment could have come and gone before the
        next try, which would start it a second time: such a run isn't tried again.
        """
        began, in_doubt = self._clock(), False
        lives_seconds = job["spec"].get("ttlSecondsAfterFinished")
        for pause_seconds in (*_PAUSES_SECONDS, None):
            try:
                self._namespace.create_job(job)
                return
            except InvalidError as error:
                log.warning("the API server does not accept a run: %s", error)
                raise
            except AlreadyExistsError as error:
                if self._is_ours(job["metadata"]["name"], call):
                    return
                raise NotStoredError(error, in_doubt=False) from error
            except ClusterError as error:
                in_doubt = in_doubt or error.may_have_happened
                again = isinstance(error, ThrottledError) or error.may_have_happened
                short_lived = lives_seconds is not None and lives_seconds <= _HORIZON_SECONDS
                if (
                    not again
                    or pause_seconds is None
                    or (error.may_have_happened and short_lived)
                    or self._clock() - began > _LAST_TRY_SECONDS
                ):
                    raise NotStoredError(error, in_doubt=in_doubt) from error
                log.warning("storing a run once more: %s", error)
                self._sleep(pause_seconds)

    def _is_ours(self, name: str, call: str) -> bool:
        """Whether the Job of this name was made by this call; one that is gone already must have been."""
        try:
            existing = self._namespace.get_job(name)
        except NotFoundError:
            return True
        except ClusterError as error:
            raise NotStoredError(error, in_doubt=True) from error
        annotations = existing["metadata"].get("annotations") or {}
        return bool(annotations.get(keys.CALL_ANNOTATION) == call)
