"""The controller of CronJobs: the Jobs that it makes, what it writes into the status, and what it tells.

No case waits for a tick. A CronJob whose last tick was years ago, as its status says, gets the Job of its most recent
one at once.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.parity.conftest import COMPARES, AssertAlike, Play
from tests.parity.manifests import cron_job, job
from tests.parity.sides import Facts, Json, Session
from tests.parity.steps import CRON_JOBS, EVENTS, JOBS, Step, create, delete, patch
from tests.support.waiting import until

pytestmark = COMPARES

YEAR = datetime.now(UTC).year
NEW_YEAR, EPIPHANY = "0 0 1 1 *", "0 0 6 1 *"
LONG_AGO = "2001-01-01T00:00:00Z"
JOB_TEMPLATE = "spec.jobTemplate"
ENDS = (
    (f"{JOB_TEMPLATE}.spec.template.metadata.annotations", {"testnode/runs-for": "0.1s", "testnode/exit-code": "0"}),
)
WAITS = ((f"{JOB_TEMPLATE}.spec.suspend", True),)

Look = Callable[[Facts], bool]


def minutes(month: int, day: int) -> int:
    """Return the most recent date of such a day, in minutes since the epoch."""
    now = datetime.now(UTC)
    date = datetime(YEAR, month, day, tzinfo=UTC)
    return int((date if date <= now else date.replace(year=YEAR - 1)).timestamp()) // 60


def scheduled(*changes: tuple[str, Any], schedule: str = NEW_YEAR) -> list[Step]:
    """Create a CronJob whose last tick was long ago."""
    return [
        create(CRON_JOBS, cron_job(("spec.schedule", schedule), *changes)),
        due(),
        patch(CRON_JOBS, {"spec": {"suspend": False}}),
    ]


def due() -> Step:
    return patch(CRON_JOBS, {"status": {"lastScheduleTime": LONG_AGO}}, name="$NAME/status")


def state_of(session: Session, *, exact: bool) -> Facts:
    """Return the CronJob's Jobs, its status and the reasons of its events."""
    look = session.request("GET", f"{CRON_JOBS}/$NAME", record=False).body
    jobs = session.request("GET", JOBS, record=False).body["items"]
    own = [found for found in jobs if found["metadata"]["name"].startswith(f"{session.name}-")]
    status = look.get("status") or {}
    about = {"fieldSelector": "involvedObject.kind=CronJob,involvedObject.name=$NAME"}
    events = session.request("GET", EVENTS, query=about, record=False).body["items"]
    state = {
        "jobs": sorted((_describe(found, look) for found in own), key=lambda one: one["name"]),
        "active": [{key: one[key] for key in ("kind", "apiVersion", "name")} for one in status.get("active") or ()],
        "status": sorted(status),
        "last": status.get("lastScheduleTime"),
        "events": sorted({event["reason"] for event in events}),
    }
    text = json.dumps(state).replace(session.name, "$NAME")
    if not exact:
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "a time", re.sub(r"-\d{8}\b", "-*", text))
    return json.loads(text)


def _describe(found: Json, owner: Json) -> Json:
    metadata = found["metadata"]
    [reference] = metadata.get("ownerReferences") or [None]
    return {
        "name": metadata["name"],
        "labels": sorted(metadata.get("labels") or ()),
        "scheduled at": (metadata.get("annotations") or {}).get("batch.kubernetes.io/cronjob-scheduled-timestamp"),
        "annotations": sorted(metadata.get("annotations") or ()),
        "suspended": found["spec"]["suspend"],
        "owned": reference is not None and reference.pop("uid") == owner["metadata"]["uid"] and reference,
    }


def settle(reached: Look, *, exact: bool = True, by_chance: str = "") -> Step:
    """Wait until the state is as given, and record it without an event that comes `by_chance`."""

    def step(session: Session) -> None:
        seen: list[Facts] = []

        def look() -> bool:
            seen[:] = [state_of(session, exact=exact)]
            return reached(seen[0])

        try:
            until(look)
        except AssertionError as error:
            raise AssertionError(f"not reached on {session.side.namespace}: {seen}") from error
        [state] = seen
        session.recorded[:] = [{**state, "events": [reason for reason in state["events"] if reason != by_chance]}]

    return step


def has_events(*reasons: str) -> Look:
    return lambda state: set(reasons) <= set(state["events"])


def has_jobs(number: int, *reasons: str, active: int | None = None) -> Look:
    """Return a predicate: so many Jobs, which are all active, or another number of them, and these events."""

    def look(state: Facts) -> bool:
        jobs, listed = {one["name"] for one in state["jobs"]}, {one["name"] for one in state["active"]}
        are_listed = listed == jobs if active is None else len(listed) == active
        return len(jobs) == number and are_listed and set(reasons) <= set(state["events"])

    return look


def both(one: Look, other: Look) -> Look:
    return lambda state: one(state) and other(state)


def has_succeeded(state: Facts) -> bool:
    return "lastSuccessfulTime" in state["status"]


def from_cron_job(session: Session) -> None:
    """Create a Job as `kubectl create job --from` does."""
    found = session.request("GET", f"{CRON_JOBS}/$NAME", record=False).body
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "controller": True, "name": "$NAME"}
    metadata = {
        "name": "$NAME-manual",
        "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
        "ownerReferences": [{**owner, "uid": found["metadata"]["uid"]}],
    }
    session.request("POST", JOBS, {"metadata": metadata, "spec": found["spec"]["jobTemplate"]["spec"]})


TAKEN = create(JOBS, job(("metadata.name", f"$NAME-{minutes(1, 1)}")))
STARTED = "SuccessfulCreate"

STORIES: dict[str, list[Step]] = {
    "one Job for many missed ticks": [*scheduled(*WAITS), settle(has_jobs(1, STARTED))],
    "labels, annotations and a time zone": [
        *scheduled(*WAITS, ("spec.timeZone", "Europe/Paris"),
                   (f"{JOB_TEMPLATE}.metadata", {"labels": {"a": "b"}, "annotations": {"c": "d"}})),
        settle(has_jobs(1, STARTED))],
    "suspended": [create(CRON_JOBS, cron_job(*WAITS, ("spec.schedule", NEW_YEAR))), due(), from_cron_job,
                  settle(has_jobs(1, "UnexpectedJob", active=0))],
    "a Job of its own by hand": [*scheduled(*WAITS), settle(has_jobs(1, STARTED)), from_cron_job,
                                 settle(has_jobs(2, "UnexpectedJob", active=1))],
    "a deadline long over": [*scheduled(*WAITS, ("spec.startingDeadlineSeconds", 10)), from_cron_job,
                             settle(has_events("UnexpectedJob"))],
    "far too many missed ticks": [*scheduled(*WAITS, schedule="@daily"),
                                  settle(has_jobs(1, "TooManyMissedTimes", STARTED), exact=False)],
    "no such day": [*scheduled(*WAITS, schedule="0 0 31 2 *"), settle(has_events("InvalidSchedule"))],
    "a name that is taken": [TAKEN, *scheduled(*WAITS), from_cron_job, settle(has_events("UnexpectedJob"))],
    "Allow": [*scheduled(*WAITS), settle(has_jobs(1, STARTED)), patch(CRON_JOBS, {"spec": {"schedule": EPIPHANY}}),
              due(), settle(has_jobs(2))],
    "Forbid": [*scheduled(*WAITS, ("spec.concurrencyPolicy", "Forbid")), settle(has_jobs(1, STARTED)),
               patch(CRON_JOBS, {"spec": {"schedule": EPIPHANY}}), due(), settle(has_events("JobAlreadyActive"))],
    "Replace": [*scheduled(*WAITS, ("spec.concurrencyPolicy", "Replace")), settle(has_jobs(1, STARTED)),
                patch(CRON_JOBS, {"spec": {"schedule": EPIPHANY}}), due(), settle(has_jobs(1, "SuccessfulDelete"))],
    "a Job that ends": [*scheduled(*ENDS), settle(both(has_jobs(1, "SawCompletedJob", active=0), has_succeeded))],
    "no history": [*scheduled(*ENDS, ("spec.successfulJobsHistoryLimit", 0)),
                   # The real controller may look at the CronJob before its cache shows that the Job has ended.
                   settle(both(has_jobs(0, "SuccessfulDelete"), has_succeeded), by_chance="MissingJob")],
    "its Job deleted": [*scheduled(*WAITS), settle(has_jobs(1, STARTED)), delete(JOBS, name=f"$NAME-{minutes(1, 1)}"),
                        settle(has_jobs(0, "MissingJob"))],
}  # fmt: skip


@pytest.mark.parametrize("steps", STORIES.values(), ids=STORIES.keys())
def test_cron_job_controller__makes_the_same_jobs(assert_alike: AssertAlike, steps: list[Step]) -> None:
    assert_alike(lambda real, embedded: [] if real == embedded else [f"real: {real}", f"embedded: {embedded}"], *steps)


def test_cron_job__deleted__takes_its_jobs_with_it(play: Play) -> None:
    def wait(session: Session) -> None:
        path = f"{JOBS}/$NAME-{minutes(1, 1)}"
        until(lambda: session.request("GET", path, record=False).status == 404)

    play(*scheduled(*WAITS), settle(has_jobs(1, STARTED)), delete(CRON_JOBS), wait)
