"""Which notification is delivered next: no receiver delays another, and nothing is sent twice by one leader."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.deliveries import GIVE_UP_SECONDS, WORKERS, Deliveries, Delivery
from app.dispatcher.run_store import RunStore
from app.dispatcher.undelivered import UndeliveredRuns
from app.domain.run import Phase, Run
from app.domain.run_end import Outcome, RunEnd
from schemas.definition import Definition
from schemas.notify import HIGHEST_MAX_UNDELIVERED, Notify
from schemas.run import Notification
from tests.unit.dispatcher.runs import make_run

NOW = 1_790_000_000.0
ALL = frozenset({"succeeded", "failed"})


def ended(number: int, definition: str = "a", outcome: Outcome = "succeeded", ago: float = 0.0) -> Run:
    end = RunEnd(outcome, ended_at=int((NOW - ago) * 1_000_000), undelivered=True)
    return replace(make_run(number, definition=definition, phase=Phase.FINISHED), end=end)


def definition(name: str, *, url: str = "", on: frozenset[str] = ALL, most: int = 1000) -> Definition:
    return Definition(name, "image", notify=Notify(url or f"https://{name}.example/", on, max_undelivered=most))


class Desk:
    """Deliveries beside the runs that they are for, and a clock."""

    def __init__(self, *runs: Run, definitions: Mapping[str, Definition] | None = None) -> None:
        self.deliveries = Deliveries()
        self.runs = UndeliveredRuns()
        for run in runs:
            self.runs.put(run)
        names = {name for name, _ in self.runs.groups}
        self.definitions = {name: definition(name) for name in names} if definitions is None else dict(definitions)
        self.now = 0.0

    def choose(self) -> Delivery | None:
        """Choose as a free worker does."""
        return self.deliveries.choose(self.runs, self.definitions.get, self.now, NOW + self.now)

    def next(self) -> Delivery:
        """Choose where there is something."""
        found = self.choose()
        assert found is not None
        return found

    def all(self) -> list[Delivery]:
        """Everything that may be done at once."""
        found: list[Delivery] = []
        while (delivery := self.choose()) is not None:
            found.append(delivery)
        return found

    def accept(self, delivery: Delivery) -> None:
        """The receiver accepts it, and the run is marked."""
        self.deliveries.sent(delivery)
        self.write(delivery)

    def write(self, delivery: Delivery) -> None:
        """The run is marked."""
        self.deliveries.written(delivery.run.uid)
        self.runs.discard(delivery.run.uid)

    def fail(self, delivery: Delivery, status: int | None = None, retry_after: float = 0.0) -> None:
        """The receiver does not accept it."""
        self.deliveries.not_sent(delivery, status, retry_after, self.now)


def test_choose__sends_the_first_end_first_and_one_at_a_time_to_an_untried_receiver() -> None:
    desk = Desk(ended(1, ago=1), ended(2, outcome="failed", ago=2))
    first = desk.next()
    assert (first.run.uid, first.state) == ("uid-2", Notification.DELIVERED)
    assert desk.choose() is None
    desk.accept(first)
    assert desk.next().run.uid == "uid-1"


def test_choose__sends_two_at_a_time_to_a_receiver_that_answers_well() -> None:
    desk = Desk(*(ended(number) for number in range(5)))
    desk.accept(desk.next())
    assert len(desk.all()) == 2


def test_choose__leaves_a_worker_free_of_receivers_that_are_not_known_to_answer() -> None:
    """Four dead receivers hang. One that has answered well gets its next event."""
    names = ["dead1", "dead2", "dead3", "dead4", "good"]
    desk = Desk(ended(0, "good"), definitions={name: definition(name) for name in names})
    desk.accept(desk.next())
    for number, name in enumerate(names, start=1):
        desk.runs.put(ended(number, name))
    chosen = [delivery.run.definition for delivery in desk.all()]
    assert "good" in chosen
    assert len(chosen) == WORKERS


def test_choose__after_a_failure__pauses_for_longer_each_time_and_takes_another_run() -> None:
    desk = Desk(ended(1), ended(2))
    tried = []
    pauses = []
    for _ in range(12):
        delivery = desk.next()
        tried.append(delivery.run.uid)
        desk.fail(delivery)
        began = desk.now
        while desk.choose() is None:
            desk.now += 1
        pauses.append(desk.now - began)
        desk.deliveries.put_back(Delivery(desk.runs.get("uid-1"), Notification.DELIVERED))  # type: ignore[arg-type]
        desk.deliveries.put_back(Delivery(desk.runs.get("uid-2"), Notification.DELIVERED))  # type: ignore[arg-type]
    assert tried[:4] == ["uid-1", "uid-2", "uid-1", "uid-2"]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 300


def test_choose__after_an_outage__is_back_to_its_speed() -> None:
    desk = Desk(*(ended(number) for number in range(50)))
    for _ in range(9):
        desk.fail(desk.next())
        desk.now += 300
    delivered = set()
    for _ in range(50):
        delivery = desk.next()
        delivered.add(delivery.run.uid)
        desk.accept(delivery)
    assert len(delivered) == 50


def test_choose__an_event_that_a_receiver_refuses__does_not_hold_up_others() -> None:
    desk = Desk(*(ended(number) for number in range(20)))
    desk.accept(desk.next())
    refused = desk.next()
    desk.fail(refused, 400)
    for _ in range(18):
        delivery = desk.next()  # no pause
        assert delivery.run.uid != refused.run.uid
        desk.accept(delivery)
    assert desk.choose() is None
    desk.now += 1
    for seconds in (2, 4, 8, 16):  # its own pauses grow, although others were accepted
        desk.runs.put(ended(100 + seconds))
        desk.accept(desk.next())
        assert desk.next().run.uid == refused.run.uid
        desk.fail(refused, 400)
        desk.now += seconds - 0.5
        assert desk.choose() is None
        desk.now += 0.5


def shared_host() -> Desk:
    """Two definitions with URLs of one host; what the first one names does not exist."""
    names = {name: definition(name, url=f"https://hooks.example/{name}") for name in ("wrong", "right")}
    return Desk(ended(1, "wrong", ago=9), definitions=names)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410])
def test_choose__a_url_that_refuses_all__delays_no_other_on_its_host(status: int) -> None:
    desk = shared_host()
    for _ in range(9):
        refused = desk.next()
        assert refused.run.definition == "wrong"
        desk.fail(refused, status)
        for number in range(10, 13):  # no pause for the other one
            desk.runs.put(ended(number, "right"))
            desk.accept(desk.next())
        assert desk.choose() is None
        desk.now += 300


def test_choose__a_url_that_refuses_all__leaves_its_host_a_healthy_one() -> None:
    desk = shared_host()
    desk.runs.put(ended(2, "right", ago=99))
    first, refused = desk.next(), desk.choose()
    assert refused is None  # one at a time
    desk.fail(first, 404)
    desk.accept(desk.next())
    desk.now = 1
    desk.fail(desk.next(), 404)
    for number in (3, 4):
        desk.runs.put(ended(number, "right"))
    assert [delivery.run.definition for delivery in desk.all()] == ["right", "right"]


def test_choose__a_url_that_refuses_all__is_asked_less_and_less_often() -> None:
    desk = Desk(*(ended(number) for number in range(100)))
    requests = 0
    while desk.now < 3600:
        if (delivery := desk.choose()) is None:
            desk.now += 1
            continue
        desk.fail(delivery, 404)
        requests += 1
    assert requests <= 25


def test_choose__a_url_that_was_wrong__is_left_at_once_for_the_right_one() -> None:
    desk = Desk(ended(1))
    for _ in range(9):
        desk.fail(desk.next(), 404)
        desk.now += 300
    desk.fail(desk.next(), 404)
    assert desk.choose() is None
    desk.definitions["a"] = definition("a", url="https://a.example/right")
    assert desk.next().state is Notification.DELIVERED


def test_choose__obeys_retry_after_of_a_refusal__for_its_url_only() -> None:
    desk = shared_host()
    desk.fail(desk.next(), 404, retry_after=100)
    desk.runs.put(ended(2, "right"))
    desk.accept(desk.next())
    desk.now = 99
    assert desk.choose() is None
    desk.now = 100
    assert desk.next().run.definition == "wrong"


def test_choose__obeys_retry_after() -> None:
    desk = Desk(ended(1), ended(2))
    desk.accept(desk.next())
    desk.fail(desk.next(), 429, retry_after=100)
    desk.now = 99
    assert desk.choose() is None
    desk.now = 100
    assert desk.next().run.uid == "uid-2"


def test_choose__two_definitions_with_one_receiver__count_as_one() -> None:
    url = "https://hooks.example:8443/"
    names = {name: definition(name, url=url + name) for name in ("a", "b")}
    desk = Desk(ended(1, "a"), ended(2, "b"), definitions=names)
    desk.fail(desk.next())
    assert desk.choose() is None


def test_choose__definitions_take_turns() -> None:
    desk = Desk(*(ended(number, "a", ago=100) for number in range(3)), ended(9, "b"))
    desk.accept(desk.next())
    desk.accept(desk.next())
    assert desk.runs.count("b") == 0


def test_choose__an_outcome_that_is_not_wanted__is_only_written() -> None:
    wanted = {"a": definition("a", on=frozenset({"failed"}))}
    desk = Desk(ended(1), ended(2, outcome="failed"), definitions=wanted)
    found = {delivery.run.uid: delivery for delivery in desk.all()}
    assert (found["uid-1"].state, found["uid-1"].notify) == (Notification.NOT_WANTED, None)
    assert found["uid-2"].state is Notification.DELIVERED


def test_choose__a_definition_that_has_no_receiver_any_more__is_only_written() -> None:
    desk = Desk(ended(1), definitions={"a": Definition("a", "image")})
    assert desk.next().state is Notification.NOT_WANTED


def test_choose__a_definition_that_is_gone__waits_until_a_day_after_the_end() -> None:
    """It may come back, or not be read yet. Its receiver stands nowhere else."""
    desk = Desk(ended(1), definitions={})
    assert desk.choose() is None
    desk.now = GIVE_UP_SECONDS
    assert desk.choose() is None
    desk.now += 1
    assert desk.next().state is Notification.GIVEN_UP


def test_choose__a_definition_that_is_gone__gives_up_none_that_its_limit_may_allow() -> None:
    """It may come back with the highest limit, and its runs wait for it."""
    desk = Desk(*(ended(number, ago=1) for number in range(HIGHEST_MAX_UNDELIVERED)), definitions={})
    assert desk.choose() is None
    desk.runs.put(ended(HIGHEST_MAX_UNDELIVERED))
    assert [delivery.state for delivery in desk.all()] == [Notification.GIVEN_UP]


def test_choose__a_receiver_that_is_down_for_a_day__is_given_up_with_the_reason() -> None:
    desk = Desk(ended(1, ago=GIVE_UP_SECONDS + 1))
    given_up = desk.next()
    assert (given_up.state, given_up.notify) == (Notification.GIVEN_UP, None)
    assert "24 hours" in given_up.why


def test_choose__a_changed_receiver__is_tried_at_once() -> None:
    desk = Desk(ended(1))
    desk.fail(desk.next())
    desk.definitions["a"] = definition("a", url="https://new.example/")
    found = desk.next()
    assert found.notify is not None
    assert found.notify.receiver == "https://new.example"


def test_choose__more_than_may_wait__gives_up_the_oldest() -> None:
    runs = [ended(number, outcome="failed" if number % 2 else "succeeded", ago=100 - number) for number in range(6)]
    desk = Desk(*runs, definitions={"a": definition("a", most=4)})
    chosen = desk.all()
    given_up = [delivery.run.uid for delivery in chosen if delivery.state is Notification.GIVEN_UP]
    assert given_up == ["uid-0", "uid-1"]
    assert [delivery.run.uid for delivery in chosen if delivery.state is Notification.DELIVERED] == ["uid-2"]


def test_choose__what_was_sent__is_written_and_not_sent_again() -> None:
    desk = Desk(ended(1))
    delivery = desk.next()
    desk.deliveries.sent(delivery)
    desk.deliveries.not_written(delivery, desk.now, refused=False)
    assert desk.choose() is None  # the API server is left alone
    desk.now += 1
    again = desk.next()
    assert (again.state, again.notify) == (Notification.DELIVERED, None)
    desk.deliveries.not_written(again, desk.now, refused=True)
    assert desk.choose() is None
    desk.now += 1
    assert desk.next().notify is None


def test_choose__a_run_that_ends_again_after_a_restore__is_sent_again() -> None:
    desk = Desk(ended(1))
    delivery = desk.next()
    desk.deliveries.sent(delivery)
    desk.deliveries.not_written(delivery, desk.now, refused=True)
    desk.runs.put(replace(ended(1, outcome="failed", ago=-5), resource_version=9))
    desk.now += 1
    again = desk.next()
    assert again.notify is not None


def test_choose__while_the_api_server_is_away__does_nothing() -> None:
    desk = Desk(ended(1), ended(2, "b"))
    desk.deliveries.not_written(desk.next(), desk.now, refused=False, at_least=20)
    desk.now = 19
    assert desk.choose() is None
    desk.now = 20
    assert desk.choose() is not None


def test_forget__keeps_nothing_of_runs_that_are_gone() -> None:
    desk = Desk(*(ended(number) for number in range(250)))
    while desk.runs.groups:
        delivery = desk.next()
        desk.fail(delivery)
        desk.runs.discard(delivery.run.uid)
        desk.now += 300
        desk.deliveries.forget(desk.runs)
    assert len(desk.deliveries._failed) <= 101


@pytest.mark.parametrize("later_first", [True, False])
def test_undelivered__holds_the_latest_version(later_first: bool) -> None:
    runs = UndeliveredRuns()
    old, new = ended(1), replace(ended(1, outcome="failed"), resource_version=2)
    for run in (new, old) if later_first else (old, new):
        runs.put(run)
    assert runs.get("uid-1") == new
    told = replace(new, resource_version=3, end=RunEnd("failed"))
    runs.put(told)
    assert runs.groups == {}
    assert runs.oldest_end("a") is None


def test_undelivered__after_a_list__is_in_the_order_of_the_ends() -> None:
    """A list is in the order of the queue. The oldest end is given up first, whenever its run was queued."""
    store = RunStore(ChangeSignal())
    store.replace([ended(1, ago=1), ended(2, ago=GIVE_UP_SECONDS + 2), ended(3, ago=3)], 1)
    assert list(store.undelivered.groups["a", "succeeded"]) == ["uid-2", "uid-3", "uid-1"]
    found = Deliveries().choose(store.undelivered, {"a": definition("a")}.get, 0.0, NOW)
    assert found is not None
    assert (found.run.uid, found.state) == ("uid-2", Notification.GIVEN_UP)
    store.remove(replace(ended(2), resource_version=2))
    store.put(replace(ended(3), resource_version=3, end=RunEnd("succeeded")))
    assert list(store.undelivered.groups["a", "succeeded"]) == ["uid-1"]
    store.replace([], 4)
    assert store.undelivered.groups == {}


def test_undelivered__knows_the_oldest_end() -> None:
    runs = UndeliveredRuns()
    for run in (ended(1, ago=5), ended(2, outcome="failed", ago=50), ended(3, "b", ago=99)):
        runs.put(run)
    assert runs.oldest_end("a") == int((NOW - 50) * 1_000_000)
    assert (runs.count("a"), runs.definitions()) == (2, ["a", "b"])
