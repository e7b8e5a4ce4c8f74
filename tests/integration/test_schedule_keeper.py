"""The leader keeps the CronJobs of schedules equal to the configuration, under faults and beside people."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from app.dispatcher.schedule_keeper import ScheduleKeeper
from app.domain.idempotency import identify_request
from app.domain.names import cronjob_name, new_id, schedule_ids
from app.domain.request_context import RequestContext
from app.kube import labels
from app.kube.idempotency import KeyMatch, match_key
from app.kube.manifests import build_cronjob
from app.kube.schedule_records import configured_targets
from app.kube.schedules import build_requested_cronjob, build_suspension
from schemas.configuration import parse_configuration
from schemas.definition import Definition
from schemas.schedules import check_schedule, load_schedule
from tests.integration.dispatching import ClusterFixture, make_due, until
from tests.support.faults import Call, Fault, Hold, LoseRequest, LoseResponse, Refuse
from tests.support.selection import slow

CRONJOBS = r"/cronjobs$"
CRONJOB = r"/cronjobs/[^/]+$"
YEARLY = "0 0 1 1 *"
APPLIED = labels.SCHEDULE_APPLIED_ANNOTATION
EDITED = labels.SCHEDULE_EDITED_ANNOTATION


def definition(*schedules: dict[str, Any], name: str = "fib", **fields: Any) -> Definition:
    """A definition with schedules, as a configuration has it."""
    entry = {"Image": "busybox:1", "Args": ["true"], "Resources": {"Limits": {"cpu": "1"}}, **fields}
    value = {"Configurations": {name: entry}, "Schedules": {name: list(schedules)}}
    return parse_configuration(json.dumps(value))[name]


def names_of(one: Definition) -> list[str]:
    """The names of the CronJobs of a definition."""
    return [cronjob_name(one.name, schedule_id) for schedule_id in schedule_ids(one.name, one.schedules)]


def seen_by(keeper: ScheduleKeeper) -> Any:
    """Return what a keeper that leads knows: the store of its watch."""
    return until(lambda: keeper._watch._feed).followers[0].store


class Harness:
    """A keeper's surroundings, which a test changes.

    Attributes:
        definitions: in force.
        undecided: names of definitions of which nobody knows if they exist.
        leads: whether keepers lead.
        keepers: those that run.
    """

    def __init__(self, cluster: ClusterFixture) -> None:
        self.cluster = cluster
        self.definitions: Sequence[Definition] = ()
        self.undecided: set[str] = set()
        self.leads = True
        self.keepers: list[ScheduleKeeper] = []

    @contextmanager
    def keeping(
        self,
        *definitions: Definition,
        leads: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Iterator[ScheduleKeeper]:
        """Run a keeper; without arguments with the definitions that are in force."""
        self.definitions = definitions or self.definitions
        keeper = ScheduleKeeper(
            self.cluster.connect(),
            None,
            lambda: self.definitions,
            lambda name: name in self.undecided,
            leads or (lambda: self.leads),
            "test",
            clock,
        )
        keeper.start()
        self.keepers.append(keeper)
        try:
            yield keeper
        finally:
            keeper.stop()
            keeper._thread.join()
            self.keepers.remove(keeper)

    def change(self, *definitions: Definition) -> None:
        """Put other definitions in force."""
        self.definitions = definitions
        for keeper in self.keepers:
            keeper.wake()

    def cronjobs(self) -> dict[str, Any]:
        """Return the CronJobs that exist, by name."""
        found = self.cluster.batch.list_namespaced_cron_job(self.cluster.namespace).items
        return {one.metadata.name: one for one in found}

    def names(self) -> list[str]:
        """Return the names of the CronJobs that exist."""
        return sorted(self.cronjobs())

    def await_names(self, *names: str) -> None:
        """Wait until exactly these CronJobs exist."""
        until(lambda: self.names() == sorted(names))

    def patch(self, name: str, patch: dict[str, Any]) -> None:
        """Change a CronJob as a person does."""
        self.cluster.batch.patch_namespaced_cron_job(name, self.cluster.namespace, patch)

    def edit(self, name: str) -> None:
        """Change a CronJob as a person does, and wait until the leader has noted it."""
        self.patch(name, {"spec": {"startingDeadlineSeconds": 77}})
        until(lambda: EDITED in self.annotations(name))

    def delete(self, name: str) -> None:
        """Delete a CronJob as a person does."""
        self.cluster.batch.delete_namespaced_cron_job(name, self.cluster.namespace)

    def args(self, name: str) -> list[str]:
        """Return the arguments of a schedule's runs."""
        template = self.cronjobs()[name].spec.job_template.spec.template
        return list(template.spec.containers[0].args)

    def annotations(self, name: str) -> dict[str, str]:
        """Return the annotations of a CronJob."""
        return dict(self.cronjobs()[name].metadata.annotations)

    def reasons(self, name: str) -> list[str]:
        """Return the reasons of the Events on a CronJob that the service wrote."""
        selector = f"involvedObject.kind=CronJob,involvedObject.name={name}"
        events = self.cluster.core.list_namespaced_event(self.cluster.namespace, field_selector=selector).items
        return sorted(event.reason for event in events if event.source.component == labels.COMPONENT)

    def writes(self) -> list[str]:
        """Return the keepers' writes of CronJobs so far, without dry runs."""
        return [
            request.method
            for request in self.cluster.proxy.requests
            if "/cronjobs" in request.path and request.method != "GET" and "dryRun" not in request.query
        ]


@pytest.fixture
def harness(cluster: ClusterFixture) -> Harness:
    return Harness(cluster)


def test_keeper__makes_changes_and_removes_cronjobs(harness: Harness) -> None:
    first = definition({"Schedule": YEARLY, "Args": ["1"]}, {"Schedule": YEARLY, "TimeZone": "Europe/Paris"})
    with harness.keeping(first):
        harness.await_names(*names_of(first))
        name, paris = names_of(first)
        made = harness.cronjobs()[paris]
        assert (made.spec.time_zone, made.spec.suspend, made.spec.job_template.spec.suspend) == (
            "Europe/Paris",
            False,
            True,
        )
        uid = harness.cronjobs()[name].metadata.uid

        harness.change(definition({"Schedule": YEARLY, "Args": ["2"], "ConcurrencyPolicy": "Forbid"}))
        harness.await_names(name)
        until(lambda: harness.args(name) == ["2"])
        changed = harness.cronjobs()[name]
        assert (changed.metadata.uid, changed.spec.concurrency_policy) == (uid, "Forbid")

        harness.change(definition({"Schedule": YEARLY}))
        until(lambda: harness.args(name) == ["true"])
        assert harness.cronjobs()[name].spec.concurrency_policy == "Allow"

        harness.change(definition())
        harness.await_names()
    assert harness.reasons(name) == []


def test_keeper__leaves_runs_of_a_removed_schedule(harness: Harness) -> None:
    one = definition({"Schedule": YEARLY})
    (name,) = names_of(one)
    with harness.keeping(one):
        harness.await_names(name)
        make_due(harness.cluster, name)
        (run,) = until(lambda: harness.cluster.batch.list_namespaced_job(harness.cluster.namespace).items)
        harness.change(definition())
        harness.await_names()
    left = until(lambda: not (job := harness.cluster.job(run.metadata.name)).metadata.owner_references and job)
    assert left.metadata.labels[labels.SCHEDULE_LABEL] == name.rpartition("-")[2]
    assert left.spec.suspend is True
    assert left.metadata.deletion_timestamp is None


def test_keeper__writes_nothing_to_what_it_adopts(harness: Harness) -> None:
    """A restart, and the next leader, find everything as it was."""
    one = definition({"Schedule": YEARLY, "Resources": {"Limits": {"cpu": "0.5"}}}, {"Schedule": "@daily"})
    with harness.keeping(one):
        harness.await_names(*names_of(one))
    before = {name: found.metadata.resource_version for name, found in harness.cronjobs().items()}
    written = len(harness.writes())
    with harness.keeping(one):
        # It compares each of them once, by a dry run, and the last one last.
        until(lambda: dry_runs(harness) >= {*names_of(one)})
    assert {name: found.metadata.resource_version for name, found in harness.cronjobs().items()} == before
    assert len(harness.writes()) == written
    assert [harness.reasons(name) for name in names_of(one)] == [[], []]


def dry_runs(harness: Harness) -> set[str]:
    return {
        request.path.rpartition("/")[2]
        for request in harness.cluster.proxy.requests
        if request.method == "PUT" and "dryRun" in request.query
    }


def test_keeper__removes_what_left_the_configuration_while_nobody_led(harness: Harness) -> None:
    one, other = definition({"Schedule": YEARLY}), definition({"Schedule": YEARLY}, name="other")
    with harness.keeping(one, other):
        harness.await_names(*names_of(one), *names_of(other))
    with harness.keeping(definition()):
        harness.await_names()


def test_keeper__touches_nothing_that_is_not_its_own(harness: Harness) -> None:
    """Neither other CronJobs, nor copies of its own under another name, nor those of requests."""
    one = definition({"Schedule": YEARLY})
    target = next(iter(configured_targets({"fib": one}).values()))
    copy = target.build()
    copy["metadata"]["name"] = "fib-backup"
    stranger = target.build()
    stranger["metadata"] = {"name": "stranger"}
    requested = requested_cronjob(one)
    made = [requested["metadata"]["name"], "fib-backup", "stranger"]
    for manifest in (copy, stranger, requested):
        harness.cluster.batch.create_namespaced_cron_job(harness.cluster.namespace, manifest)
    before = {name: found.metadata.resource_version for name, found in harness.cronjobs().items()}
    with harness.keeping(one):
        harness.await_names(*made, *names_of(one))
        harness.change(definition())
        harness.await_names(*made)
    assert {name: found.metadata.resource_version for name, found in harness.cronjobs().items()} == before


def requested_cronjob(one: Definition, **fields: Any) -> dict[str, Any]:
    """The CronJob of a schedule that a request makes."""
    schedule, _ = load_schedule({"Schedule": YEARLY, **fields})
    return build_cronjob(check_schedule(one, schedule), schedule, new_id(), origin="http", started_by="ann")


def test_keeper__lets_a_pause_by_hand_last(harness: Harness) -> None:
    one = definition({"Schedule": YEARLY, "Args": ["1"]})
    (name,) = names_of(one)
    with harness.keeping(one):
        harness.await_names(name)
        harness.patch(name, {"spec": {"suspend": True}})
        harness.change(definition({"Schedule": YEARLY, "Args": ["2"]}))
        until(lambda: harness.args(name) == ["2"])
        assert harness.cronjobs()[name].spec.suspend is True
        # What the configuration says counts when it changes.
        harness.change(definition({"Schedule": YEARLY, "Args": ["2"], "Suspend": False}))
        until(lambda: harness.cronjobs()[name].spec.suspend is False)
    assert harness.reasons(name) == []


def test_keeper__tells_an_edit_once_and_leaves_it_until_the_configuration_changes(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    one = definition({"Schedule": YEARLY, "Args": ["1"]})
    (name,) = names_of(one)
    with harness.keeping(one):
        harness.await_names(name)
        harness.edit(name)
        until(lambda: harness.reasons(name) == ["ScheduleEdited"])
    with harness.keeping(one), harness.keeping(one):  # the next leader, and one more
        harness.change(one, definition({"Schedule": YEARLY}, name="other"))
        until(lambda: len(harness.names()) == 2)
    assert harness.cronjobs()[name].spec.starting_deadline_seconds == 77
    assert harness.reasons(name) == ["ScheduleEdited"]
    changed = definition({"Schedule": YEARLY, "Args": ["2"]})
    with harness.keeping(changed):
        until(lambda: harness.args(name) == ["2"])
    assert harness.cronjobs()[name].spec.starting_deadline_seconds is None
    assert EDITED not in harness.annotations(name)
    assert "(ScheduleEdited)" in caplog.text


def test_keeper__sees_that_an_edit_was_undone(harness: Harness) -> None:
    one = definition({"Schedule": YEARLY})
    (name,) = names_of(one)
    with harness.keeping(one):
        harness.await_names(name)
        harness.edit(name)
        harness.patch(name, {"spec": {"startingDeadlineSeconds": None}})
        until(lambda: EDITED not in harness.annotations(name))


def test_keeper__undoes_an_edit_when_it_is_asked_to(harness: Harness) -> None:
    one = definition({"Schedule": YEARLY})
    (name,) = names_of(one)
    with harness.keeping(one):
        harness.await_names(name)
        harness.edit(name)
        harness.patch(name, {"metadata": {"annotations": {APPLIED: None}}})
        until(lambda: harness.cronjobs()[name].spec.starting_deadline_seconds is None)


def test_keeper__tells_a_deletion_and_makes_no_other_until_the_schedule_changes(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    one = definition({"Schedule": YEARLY, "Args": ["1"]})
    (name,) = names_of(one)
    with harness.keeping(one):
        harness.await_names(name)
        harness.delete(name)
        until(lambda: harness.reasons(name) == ["ScheduleDeleted"])
        harness.change(one, definition({"Schedule": YEARLY}, name="other"))
        until(lambda: len(harness.names()) == 1)
        assert name not in harness.names()
        harness.change(definition({"Schedule": YEARLY, "Args": ["2"]}))
        harness.await_names(name)
    assert "(ScheduleDeleted)" in caplog.text


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_keeper__is_shown_a_deletion_before_an_answer__knows_that_the_cronjob_is_gone(
    harness: Harness, method: str
) -> None:
    """The answer to the create, or to a read after an edit, is older than the deletion that the watch has shown."""
    one = definition({"Schedule": YEARLY, "Args": ["1"]})
    (name,) = names_of(one)

    def delete() -> None:
        harness.delete(name)
        until(lambda: harness.keepers)
        until(lambda: name in seen_by(harness.keepers[0]).gone_at)

    fault = Fault(Call(delete), method=method, path=CRONJOBS if method == "POST" else f"/cronjobs/{name}$")
    if method == "POST":
        harness.cluster.proxy.add(fault)
    with harness.keeping(one) as keeper:
        if method == "GET":
            harness.await_names(name)
            harness.cluster.proxy.add(fault)
            harness.patch(name, {"spec": {"startingDeadlineSeconds": 77}})
        until(lambda: harness.reasons(name) == ["ScheduleDeleted"])
        keeper.wake()
        until(lambda: not keeper._is_woken)
        assert harness.names() == []
        assert seen_by(keeper).stored == {}
        harness.change(definition({"Schedule": YEARLY, "Args": ["2"]}))
        harness.await_names(name)
        assert harness.args(name) == ["2"]


def test_keeper__own_deletion_without_an_answer_then_refused__is_still_its_own(harness: Harness) -> None:
    """The configuration asks for the schedule again before the watch shows that it is gone."""
    one = definition({"Schedule": YEARLY})
    (name,) = names_of(one)
    proxy = harness.cluster.proxy
    with harness.keeping(one) as keeper:
        until(lambda: name in seen_by(keeper).stored and not seen_by(keeper)._own_writes)  # the watch has shown it
        proxy.silence(watches_only=True)
        proxy.add(Fault(LoseResponse(), method="DELETE", path=CRONJOB))
        refused = proxy.add(Fault(Refuse(429, "TooManyRequests"), method="DELETE", path=CRONJOB, times=None))
        harness.change(definition())
        until(lambda: proxy.hits(refused))
        harness.change(one)
        proxy.heal()
        harness.await_names(name)
        assert harness.reasons(name) == []


def test_keeper__makes_a_deleted_cronjob_again_in_its_next_term(harness: Harness) -> None:
    one = definition({"Schedule": YEARLY})
    (name,) = names_of(one)
    with harness.keeping(one):
        harness.await_names(name)
        harness.delete(name)
        until(lambda: harness.reasons(name) == ["ScheduleDeleted"])
    with harness.keeping(one):
        harness.await_names(name)


def test_keeper__tells_that_a_name_is_taken_and_uses_it_when_it_is_free(harness: Harness) -> None:
    one = definition({"Schedule": YEARLY, "Args": ["1"]})
    (name,) = names_of(one)
    stranger = configured_targets({"fib": one})[name].build()
    stranger["metadata"] = {"name": name, "labels": {"team": "blue"}}
    harness.cluster.batch.create_namespaced_cron_job(harness.cluster.namespace, stranger)
    version = harness.cronjobs()[name].metadata.resource_version
    with harness.keeping(one):
        until(lambda: harness.reasons(name) == ["ScheduleNameTaken"])
        assert harness.cronjobs()[name].metadata.resource_version == version
        harness.delete(name)
        until(lambda: (found := harness.cronjobs().get(name)) and found.metadata.labels.get(labels.SCHEDULE_LABEL))


def test_keeper__takes_a_cronjob_without_its_labels_for_a_strangers(harness: Harness) -> None:
    one = definition({"Schedule": YEARLY})
    (name,) = names_of(one)
    with harness.keeping(one):
        harness.await_names(name)
        harness.patch(name, {"metadata": {"labels": {labels.MANAGED_BY_LABEL: None}}})
        until(lambda: harness.reasons(name) == ["ScheduleNameTaken"])
        harness.patch(name, {"metadata": {"labels": {labels.MANAGED_BY_LABEL: labels.MANAGED_BY}}})
        harness.change(definition())
        harness.await_names()


@pytest.mark.parametrize(
    "fault",
    [LoseResponse(), *slow(LoseRequest(), Refuse(503, "ServiceUnavailable"), Refuse(429, "TooManyRequests"))],
    ids=repr,
)
def test_keeper__repeats_a_write_whose_answer_is_lost(harness: Harness, fault: Any) -> None:
    """Each of create, change and removal fails once, or its answer does."""
    one, changed = (definition({"Schedule": YEARLY, "Args": [args]}) for args in "12")
    (name,) = names_of(one)
    proxy = harness.cluster.proxy
    create = proxy.add(Fault(fault, method="POST", path=CRONJOBS, times=1))
    replace = proxy.add(Fault(fault, method="PUT", path=CRONJOB, times=1))
    remove = proxy.add(Fault(fault, method="DELETE", path=CRONJOB, times=1))
    with harness.keeping(one):
        harness.await_names(name)
        uid = harness.cronjobs()[name].metadata.uid
        harness.change(changed)
        until(lambda: harness.args(name) == ["2"])
        assert harness.cronjobs()[name].metadata.uid == uid
        harness.change(definition())
        harness.await_names()
        assert [proxy.hits(one) for one in (create, replace, remove)] == [1, 1, 1]
    assert harness.reasons(name) == []


def test_keeper__goes_on_with_other_schedules_where_the_writes_of_one_fail(harness: Harness) -> None:
    """Such as a webhook that answers 500 for it, for good."""
    one, changed = (definition(*({"Schedule": f"{m} 0 1 1 *", "Args": [args]} for m in range(4))) for args in "12")
    first, *others = sorted(names_of(one))
    with harness.keeping(one):
        harness.await_names(*names_of(one))
        fault = Fault(Refuse(500, "InternalError"), method="PUT", path=f"/cronjobs/{first}$", times=None)
        harness.cluster.proxy.add(fault)
        harness.change(changed)
        until(lambda: all(harness.args(name) == ["2"] for name in others))
        assert harness.args(first) == ["1"]
        harness.cluster.proxy.remove(fault)
        until(lambda: harness.args(first) == ["2"])


def test_keeper__pauses_all_writes_when_those_of_two_schedules_fail(harness: Harness) -> None:
    """An outage of the API server is not met with a write for each schedule."""
    one = definition(*({"Schedule": f"{minute} 0 1 1 *"} for minute in range(5)))
    fault = Fault(Refuse(503, "ServiceUnavailable"), method="POST", path=CRONJOBS, times=None)
    harness.cluster.proxy.add(fault)
    seconds = [0.0]
    with harness.keeping(one, clock=lambda: seconds[0]) as keeper:
        until(lambda: harness.cluster.proxy.hits(fault) == 2)
        for _ in range(3):
            keeper.wake()
            until(lambda: not keeper._is_woken)
        assert harness.cluster.proxy.hits(fault) == 2
        seconds[0] = 3600.0
        until(lambda: harness.cluster.proxy.hits(fault) == 3)
        harness.cluster.proxy.remove(fault)

        def are_made_later() -> bool:
            seconds[0] += 600.0
            return harness.names() == sorted(names_of(one))

        until(are_made_later)


def test_keeper__two_leaders_at_once_make_each_cronjob_once(harness: Harness) -> None:
    """As when a paused leader goes on, whose Lease has another holder."""
    one = definition(*({"Schedule": f"{minute} 0 1 1 *"} for minute in range(5)))
    with harness.keeping(one), harness.keeping(one):
        harness.await_names(*names_of(one))
        changed = definition(*({"Schedule": f"{minute} 0 1 1 *", "Args": ["2"]} for minute in range(5)))
        harness.change(changed)
        until(lambda: all(harness.args(name) == ["2"] for name in names_of(one)))
        assert [reason for name in names_of(one) for reason in harness.reasons(name)] == []
        # The one that reads the new configuration later may take the other's removal for somebody else's, and tell it.
        harness.change(definition())
        harness.await_names()


def test_keeper__of_an_old_configuration_is_corrected_by_the_next_leader(harness: Harness) -> None:
    """Its create arrives after the next leader has begun, which does not want this schedule."""
    old, new = definition({"Schedule": YEARLY}), definition({"Schedule": "@daily"})
    proxy = harness.cluster.proxy
    hold = Hold()
    proxy.add(Fault(hold, method="POST", path=CRONJOBS, times=1))
    leads = {"old": True}
    with harness.keeping(old, leads=lambda: leads["old"]):
        hold.wait_held()
        leads["old"] = False
        with harness.keeping(new):
            harness.await_names(*names_of(new))
            hold.release()
            until(lambda: harness.writes().count("POST") == 2)
            harness.await_names(*names_of(new))


def test_keeper__does_nothing_unless_it_leads(harness: Harness) -> None:
    harness.leads = False
    one = definition({"Schedule": YEARLY})
    with harness.keeping(one) as keeper:
        keeper.wake()
        harness.leads = True
        harness.await_names(*names_of(one))
        harness.leads = False
        until(lambda: not harness.cluster.proxy.watches)
    assert harness.writes() == ["POST"]


def test_keeper__watches_nothing_without_schedules(harness: Harness) -> None:
    with harness.keeping(definition()) as keeper:
        harness.cluster.proxy.wait_for(lambda request: request.path.endswith("/cronjobs"))
        until(lambda: not harness.cluster.proxy.watches)
        one = definition({"Schedule": YEARLY})
        harness.change(one)
        harness.await_names(*names_of(one))
        assert keeper._thread.is_alive()


def test_keeper__leaves_schedules_alone_while_their_definition_is_undecided(harness: Harness) -> None:
    one, other = definition({"Schedule": YEARLY}), definition({"Schedule": YEARLY}, name="other")
    with harness.keeping(one):
        harness.await_names(*names_of(one))
    harness.undecided = {"fib"}
    with harness.keeping(other):
        harness.await_names(*names_of(one), *names_of(other))
        harness.undecided = set()
        harness.change(other)
        harness.await_names(*names_of(other))


def test_keeper__tells_what_the_api_server_does_not_accept(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    one, other = definition({"Schedule": YEARLY}), definition({"Schedule": YEARLY}, name="other")
    refuse = Fault(Refuse(422, "Invalid", "no"), method="POST", path=CRONJOBS, times=1)
    harness.cluster.proxy.add(refuse)
    with harness.keeping(one, other):
        harness.await_names(*names_of(one), *names_of(other))
    assert "the API server does not accept the CronJob" in caplog.text


def test_keeper__makes_schedules_of_requests_follow_their_definition(harness: Harness) -> None:
    """A later definition counts for them, too: its image, its limits, and that it allows them."""
    one = definition(ImagesWhitelist=["busybox:*"])
    manifest = requested_cronjob(one, Image="busybox:2")
    name = manifest["metadata"]["name"]
    harness.cluster.batch.create_namespaced_cron_job(harness.cluster.namespace, manifest)

    def limits() -> Any:
        container = harness.cronjobs()[name].spec.job_template.spec.template.spec.containers[0]
        return container.image, container.resources.limits["cpu"]

    with harness.keeping(definition(ImagesWhitelist=["busybox:*"], Resources={"Limits": {"cpu": "2"}})):
        until(lambda: limits() == ("busybox:2", "2"))
        harness.change(one)
        until(lambda: limits() == ("busybox:2", "1"))
        harness.change(definition())  # this image is not allowed any more
        until(lambda: harness.reasons(name) == ["ScheduleRefused"])
        assert harness.cronjobs()[name].spec.suspend is True
        harness.change(one)
        until(lambda: harness.cronjobs()[name].spec.suspend is False)
        harness.change()  # no definition at all
        until(lambda: harness.cronjobs()[name].spec.suspend)
        assert harness.annotations(name)[labels.STARTED_BY_ANNOTATION] == "ann"


def test_keeper__leaves_what_a_request_has_noted_and_a_callers_pause(harness: Harness) -> None:
    """A repeated request finds its schedule, also after the definition has changed; and a pause lasts."""
    one = definition()
    entry, faults = load_schedule({"Schedule": YEARLY})
    idempotent = identify_request("fib", "key", b"body", "", "", kind="schedules")
    manifest = build_requested_cronjob(
        entry,
        check_schedule(one, entry, faults),
        idempotent.run_id,
        call="mark",
        idempotent=idempotent,
        context=RequestContext("request"),
    )
    name = manifest["metadata"]["name"]
    stored = harness.cluster.connect().create_cronjob(manifest)
    paused = build_suspension(stored, suspend=True)
    assert paused is not None
    harness.cluster.connect().patch_cronjob(name, paused)
    with harness.keeping(definition(Args=["false"])):
        until(lambda: harness.args(name) == ["false"])
    changed = harness.cluster.connect().get_cronjob(name)
    assert changed["spec"]["suspend"] is True
    assert match_key(idempotent, changed) is KeyMatch.SAME_REQUEST
    for mark in (labels.CALL_ANNOTATION, labels.REQUEST_ID_ANNOTATION):
        assert changed["metadata"]["annotations"][mark] == manifest["metadata"]["annotations"][mark]


def test_keeper__of_requests__may_have_been_written_by_anybody(harness: Harness) -> None:
    """What can't be read makes no runs, and breaks nothing."""
    one = definition({"Schedule": YEARLY})
    for text in ("", "[", "[]", '{"Schedule": 5}', '{"Schedule": "@daily", "Args": "x"}'):
        manifest = requested_cronjob(one)
        manifest["metadata"]["annotations"][labels.SCHEDULE_ANNOTATION] = text
        harness.cluster.batch.create_namespaced_cron_job(harness.cluster.namespace, manifest)
    with harness.keeping(one):
        until(lambda: [found.spec.suspend for found in harness.cronjobs().values()].count(True) == 5)
        until(lambda: names_of(one)[0] in harness.names())
        assert not harness.cronjobs()[names_of(one)[0]].spec.suspend


def test_keeper__survives_a_break_of_the_watch(harness: Harness) -> None:
    one, other = definition({"Schedule": YEARLY}), definition({"Schedule": "@daily"})
    with harness.keeping(one):
        harness.await_names(*names_of(one))
        harness.cluster.proxy.cut_watches()
        harness.change(other)
        harness.await_names(*names_of(other))
