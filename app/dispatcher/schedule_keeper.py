"""Keeps the CronJobs of schedules equal to the configuration, while this process leads.

Every write can be repeated, and can be made by two leaders at once: the name of a CronJob follows from the schedule, so
it is created once; a replacement carries the resourceVersion, and a deletion the uid and the resourceVersion, of what
the leader has read. What somebody else has changed or deleted is told, and left as it is until the configuration
changes. docs/adr/0023-schedules.md has the reasons.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.common.outage_logger import OutageLogger
from app.common.types import Json
from app.dispatcher.schedule_events import ScheduleEvents
from app.dispatcher.schedule_term import LAST_PAUSE_SECONDS, ScheduleTerm
from app.domain.schedule import Known, Step, StoredSchedule, plan_steps
from app.kube.client import NamespacedClient
from app.kube.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    QuotaError,
)
from app.kube.schedule_records import (
    Target,
    apply_target,
    build_edit_mark,
    build_refusal,
    configured_targets,
    definition_of,
    describe_refusal,
    is_schedule,
    read_stored_schedule,
    requested_target,
)
from app.kube.schedules import read_origin
from app.kube.shared_watch import SharedWatch
from schemas.definition import Definition
from schemas.faults import Refused

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""How often the thread checks whether this process leads. This makes no call."""

_LAST_OUTAGE_SECONDS = 30.0
"""The longest pause while the API server does not answer."""

_ALL = "all schedules"

_REFUSALS_TO_BELIEVE = 2
"""After so many refusals in a row before the first list, CronJobs may not be read. A single one may be a mistake, such
as that of an API server that has just started."""


class ScheduleKeeper:
    """Creates, changes and removes the CronJobs of schedules. Has a thread of its own.

    It watches CronJobs only while there are schedules, or once after each change of the definitions.

    Args:
        client: of the namespace.
        watch: of all CronJobs of the namespace; `None`: it opens its own.
        definitions: returns the definitions in force.
        is_undecided: whether it is unknown if there is a definition of a name (`Registry.is_undecided`). Its schedules
            stay as they are.
        is_leading: whether this process leads.
        instance: of this process, for Events.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        client: NamespacedClient,
        watch: SharedWatch | None,
        definitions: Callable[[], Sequence[Definition]],
        is_undecided: Callable[[str], bool],
        is_leading: Callable[[], bool],
        instance: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._watch = watch or SharedWatch(client, client.cronjobs, name="cronjobs", on_refused=self._log_refused)
        self._definitions = definitions
        self._is_undecided = is_undecided
        self._is_leading = is_leading
        self._events = ScheduleEvents(client, instance)
        self._clock = clock
        self._changed = threading.Condition()
        self._is_woken = True
        self._gate: _Gate | None = None
        self._stopped = False
        self._read_outage = OutageLogger(
            log, "the CronJobs of schedules can't be read (k8s/base/rbac.yaml has the right)"
        )
        self._outage = OutageLogger(
            log, "the CronJobs of schedules can't be written (k8s/base/rbac.yaml has the rights)"
        )
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Compare everything again: the definitions may have changed."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def stop(self) -> None:
        """Ask the thread to end after its current call; returns at once."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    @property
    def refused_requests(self) -> frozenset[str] | None:
        """The CronJobs of the schedules of requests that their definitions do not allow now; `None`: not known yet.

        When other definitions come into force, it is unknown until the schedules were compared with them.
        """
        gate = self._gate
        return gate.refused if gate is not None and gate.definitions == list(self._definitions()) else None

    # The thread.

    def _run(self) -> None:
        while not self._stopped:
            try:
                if self._is_leading():
                    self._lead()
            except Exception:
                log.exception("the schedules could not be kept; the thread starts again")
            with self._changed:
                if not self._stopped:
                    self._changed.wait(_LOOK_SECONDS)

    def _lead(self) -> None:
        term = ScheduleTerm(self._changed, self._judge)
        self._is_woken = True
        try:
            while self._is_leading() and not self._stopped:
                self._follow(term)
                seconds = self._take_step(term)
                self._gate = self._find_gate(term)
                with self._changed:
                    if seconds > 0 and not (self._is_woken or self._stopped or term.has_news):
                        self._changed.wait(min(seconds, _LOOK_SECONDS))
                    term.has_news = False
        finally:
            self._gate = None
            self._watch.leave(term.follower)

    def _find_gate(self, term: ScheduleTerm) -> "_Gate | None":
        """Find out which schedules of requests are refused; read them again if their definitions have changed since.

        Returns:
            What is known, or `None`: some are still to be compared with the definitions in force. Without the right to
            read CronJobs, nothing can be known, and none are refused.
        """
        definitions = list(self._definitions())
        in_force = {one.name: one for one in definitions}
        with self._changed:
            if not term.joined:  # there were none when the definitions changed last
                return _Gate(term.definitions, frozenset())
            if not term.is_filled:
                return _Gate(definitions, frozenset()) if term.refusals >= _REFUSALS_TO_BELIEVE else None
            requested = [stored for stored in term.stored.values() if not stored.configured]
            is_outdated = any(
                one.judged_by is not (in_force.get(one.definition) or self._is_undecided(one.definition))
                for one in requested
            )
            lists_again = is_outdated and not term.is_listing
            if lists_again:
                term.is_listing = True
        if lists_again:
            self._watch.list_again()  # what requests have asked for is not kept in memory
        return None if is_outdated else _Gate(definitions, frozenset(one.name for one in requested if one.refusal))

    def _follow(self, term: ScheduleTerm) -> None:
        """Read the definitions if they have changed, and the CronJobs for as long as that is called for."""
        with self._changed:
            is_woken, self._is_woken = self._is_woken, False
        definitions = list(self._definitions())
        if is_woken or definitions != term.definitions:
            targets = configured_targets({one.name: one for one in definitions})
            with self._changed:
                term.definitions, term.targets = definitions, targets
            if not term.joined:
                term.joined = True
                self._watch.join(term.follower)
        elif term.joined and term.is_idle():
            self._watch.leave(term.follower)
            term.leave()

    def _take_step(self, term: ScheduleTerm) -> float:
        """Take the next step; return for how many seconds nothing is due."""
        self._tell_deletions(term)
        now = self._clock()
        if term.backoffs.is_waiting(_ALL, now):
            return term.backoffs.seconds_left(now)
        with self._changed:
            if not term.is_filled:
                return _LOOK_SECONDS
            term.begin_step()
            waiting = {name for name in (*term.targets, *term.stored) if term.backoffs.is_waiting(name, now)}
            wanted = {name: target.applied for name, target in term.targets.items()}
            known = Known(term.checked, term.deleted, self._is_undecided)
            steps = plan_steps(wanted, term.stored, known, waiting)
        if not steps:
            return term.backoffs.seconds_left(now)
        name = min(steps, key=lambda name: (term.failed_at.get(name, float("-inf")), name))  # others come before it
        try:
            self._carry_out(term, name, steps[name])
        except (NotFoundError, ConflictError) as error:
            log.debug("the CronJob %s of a schedule has changed meanwhile: %s", name, error)
            term.fail(name, now)  # the watch shows how
        except (InvalidError, DeniedError, QuotaError) as error:
            self._note_write_refused(term, name, error)
        except ClusterError as error:
            self._outage.failed(error)
            now, at_least = self._clock(), error.retry_after_seconds or 0.0
            at_most = _LAST_OUTAGE_SECONDS if error.retryable else LAST_PAUSE_SECONDS
            term.fail(name, now, at_least=at_least, at_most=at_most)
            if term.stuck_at not in ("", name):  # two in a row: the fault is not that of one schedule
                term.backoffs.fail(_ALL, now, at_least=at_least, at_most=at_most)
            term.stuck_at = name
        else:
            self._outage.recovered()
            term.backoffs.succeed(_ALL)
            term.stuck_at = ""
            term.failed_at.pop(name, None)
            if name not in term.taken:
                term.backoffs.succeed(name)
                term.refused.pop(name, None)
        return 0.0

    def _carry_out(self, term: ScheduleTerm, name: str, step: Step) -> None:
        match step:
            case Step.CREATE:
                self._create(term, term.targets[name])
            case Step.APPLY:
                self._apply(term, name)
            case Step.CHECK:
                self._check(term, name)
            case Step.SUSPEND:
                self._suspend(term, name)
            case Step.REMOVE:
                stored = term.stored.get(name)  # the watch may have removed it since
                if stored is not None:
                    self._remove(term, stored)

    def _create(self, term: ScheduleTerm, target: Target) -> None:
        with self._changed:  # before the call: somebody may delete what it creates before its answer is read
            term.deleted.pop(target.name, None)
        try:
            created = self._client.create_cronjob(target.build())
        except AlreadyExistsError:
            existing = self._client.get_cronjob(target.name)
            if is_schedule(existing):
                if not term.keep(self._judge(existing)):
                    raise NotFoundError(f"the CronJob {target.name} is gone again") from None
                return
            self._note_taken(term, target, existing)
            return
        term.taken.pop(target.name, None)
        self._note_written(term, created)
        log.info("the CronJob %s of a schedule was created", target.name)

    def _apply(self, term: ScheduleTerm, name: str) -> None:
        cronjob, stored = self._read(term, name)
        target = self._target_of(term, cronjob)
        if target is None or (stored.applied == target.applied and not stored.refusal_noted):
            return
        self._note_written(term, self._client.replace_cronjob(apply_target(cronjob, target)))
        if stored.edited_digest:
            log.warning("the CronJob %s of a schedule was changed: what somebody else had edited is replaced", name)
        else:
            log.info("the CronJob %s of a schedule was changed", name)

    def _check(self, term: ScheduleTerm, name: str) -> None:
        """Find out whether somebody else has changed what the service wrote.

        The API server completes what is written, and webhooks may change it. So it is asked what would come of writing
        the same again, and that is compared with what is there.
        """
        cronjob, stored = self._read(term, name)
        target = self._target_of(term, cronjob)
        if target is None or stored.applied != target.applied:
            return
        if self._is_as_written(term, cronjob, stored, target):
            term.checked[name] = (stored.applied, stored.spec_digest)
            if stored.edited_digest:
                term.keep(self._judge(self._client.patch_cronjob(name, build_edit_mark(stored, None))))
                log.info("the CronJob %s of a schedule is again as it was asked for", name)
        elif stored.edited_digest != stored.spec_digest:
            marked = self._client.patch_cronjob(name, build_edit_mark(stored, stored.spec_digest))
            term.keep(self._judge(marked))
            self._events.tell_edit(stored)

    def _is_as_written(self, term: ScheduleTerm, cronjob: Json, stored: StoredSchedule, target: Target) -> bool:
        if term.checked.get(stored.name) == (stored.applied, stored.spec_digest):
            return True
        try:
            expected = self._client.replace_cronjob(apply_target(cronjob, target), dry_run=True)
        except InvalidError as error:  # such as a webhook that does not support dry runs
            log.debug("the CronJob %s of a schedule can't be checked: %s", stored.name, error)
            return True
        return read_stored_schedule(expected).spec_digest == stored.spec_digest

    def _suspend(self, term: ScheduleTerm, name: str) -> None:
        _, stored = self._read(term, name)
        if stored.refusal and not stored.suspended:
            term.keep(self._judge(self._client.patch_cronjob(name, build_refusal(stored))))
            self._events.tell_refusal(stored)

    def _remove(self, term: ScheduleTerm, stored: StoredSchedule) -> None:
        may_be_deleted = stored.uid in term.own_deletions  # by an earlier call whose answer was lost
        term.own_deletions.add(stored.uid)
        try:
            self._client.delete_cronjob(stored.name, uid=stored.uid, resource_version=stored.resource_version)
        except NotFoundError:
            log.debug("the CronJob %s of a schedule is gone already", stored.name)
        except ClusterError as error:
            if not (may_be_deleted or error.outcome_unknown):
                term.own_deletions.discard(stored.uid)  # if it is deleted later, it was somebody else
            raise
        term.note_deletion(stored)
        log.info("the CronJob %s of a schedule was removed; its runs stay", stored.name)

    def _read(self, term: ScheduleTerm, name: str) -> tuple[Json, StoredSchedule]:
        """Read a schedule as it is now.

        Raises:
            NotFoundError: it is gone, or being deleted, or is no schedule any more.
        """
        cronjob = self._client.get_cronjob(name)
        stored = self._judge(cronjob)
        if stored is None or stored.being_deleted:
            raise NotFoundError(f"the CronJob {name} is no schedule any more")
        term.keep(stored)
        return cronjob, stored

    def _target_of(self, term: ScheduleTerm, cronjob: Json) -> Target | None:
        if read_origin(cronjob) != "http":
            return term.targets.get(cronjob["metadata"]["name"])
        definition = self._find(definition_of(cronjob))
        try:
            return requested_target(cronjob, definition) if definition else None
        except Refused:
            return None

    def _find(self, name: str) -> Definition | None:
        return next((one for one in self._definitions() if one.name == name), None)

    def _judge(self, cronjob: Json) -> StoredSchedule | None:
        """Make the record of a CronJob; `None`: it is no schedule. Whatever is in it, this raises nothing."""
        if not is_schedule(cronjob):
            return None
        if read_origin(cronjob) != "http":
            return read_stored_schedule(cronjob)
        name = definition_of(cronjob)
        definition = self._find(name)
        if definition is None:
            is_undecided = self._is_undecided(name)
            refusal = "" if is_undecided else f"there is no definition {name}"
            return read_stored_schedule(cronjob, refusal=refusal, judged_by=is_undecided)
        try:
            wanted = requested_target(cronjob, definition).applied
        except Refused as error:
            return read_stored_schedule(cronjob, refusal=describe_refusal(error), judged_by=definition)
        return read_stored_schedule(cronjob, wanted=wanted, judged_by=definition)

    # Telling.

    def _note_written(self, term: ScheduleTerm, cronjob: Json) -> None:
        stored = self._judge(cronjob)
        if stored is not None:
            term.checked[stored.name] = (stored.applied, stored.spec_digest)
            term.keep(stored, written=True)

    def _note_taken(self, term: ScheduleTerm, target: Target, existing: Json) -> None:
        term.fail(target.name, self._clock())
        uid = existing["metadata"]["uid"]
        if term.taken.get(target.name) != uid:
            term.taken[target.name] = uid
            self._events.tell_name_taken(target.name, uid, target.applied)

    def _note_write_refused(self, term: ScheduleTerm, name: str, error: ClusterError) -> None:
        term.fail(name, self._clock())
        if term.refused.get(name) != error.message:
            term.refused[name] = error.message
            log.error("the API server does not accept the CronJob %s of a schedule: %s", name, error.message)

    def _tell_deletions(self, term: ScheduleTerm) -> None:
        with self._changed:
            untold, term.untold = term.untold, []
        for stored in untold:
            self._events.tell_deletion(stored)

    def _log_refused(self, error: ClusterError) -> None:
        """Log that the CronJobs may not be read, unless there is nothing to keep."""
        if any(definition.schedules for definition in self._definitions()):
            self._read_outage.failed(error)


class _Gate(NamedTuple):
    """Which schedules of requests are refused under which definitions."""

    definitions: list[Definition]
    refused: frozenset[str]
