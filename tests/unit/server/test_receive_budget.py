"""Which requests get memory to be received."""

from app.server.receive_budget import ReceiveBudget


def grant(budget: ReceiveBudget[str]) -> list[str]:
    """Return the requests that get their bytes now."""
    granted = []
    while (request := budget.next()) is not None:
        granted.append(request)
    return granted


def test_next__gives_no_more_than_the_budget() -> None:
    budget: ReceiveBudget[str] = ReceiveBudget(100)
    for name in ("a1", "a2", "a3"):
        budget.ask("a", name, 40)
    assert grant(budget) == ["a1", "a2"]
    assert budget.is_short
    assert budget.waiting() == ["a3"]
    budget.release("a1")
    budget.release("a1")
    assert grant(budget) == ["a3"]
    assert not budget.is_short
    assert [budget.held(name) for name in ("a1", "a2", "a3")] == [0, 40, 40]


def test_next__lets_addresses_take_turns() -> None:
    """Whoever opens many connections delays another one by one request."""
    budget: ReceiveBudget[str] = ReceiveBudget(40)
    for number in range(5):
        budget.ask("crowd", f"c{number}", 40)
    assert grant(budget) == ["c0"]
    for number in range(2):
        budget.ask("other", f"o{number}", 40)
    order = []
    holder = "c0"
    while budget.is_short:
        budget.release(holder)
        [holder] = grant(budget)
        order.append(holder)
    assert order == ["c1", "o0", "c2", "o1", "c3", "c4"]


def test_next__lets_nobody_overtake() -> None:
    """Else those that need little would pass one that needs much, again and again."""
    budget: ReceiveBudget[str] = ReceiveBudget(100)
    budget.ask("a", "small", 10)
    budget.ask("b", "large", 95)
    budget.ask("c", "other", 10)
    assert grant(budget) == ["small"]
    budget.release("small")
    assert grant(budget) == ["large"]


def test_ask__adds_to_what_is_held() -> None:
    budget: ReceiveBudget[str] = ReceiveBudget(100)
    budget.ask("a", "x", 60)
    assert grant(budget) == ["x"]
    budget.ask("a", "x", 30)
    assert grant(budget) == ["x"]
    assert budget.held("x") == 90
    budget.release("x")
    budget.ask("a", "y", 1000)
    assert grant(budget) == ["y"]
    assert budget.held("y") == 100


def test_withdraw__leaves_the_others() -> None:
    budget: ReceiveBudget[str] = ReceiveBudget(10)
    for address, name in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        budget.ask(address, name, 10)
    assert grant(budget) == ["a1"]
    budget.withdraw("a2")
    budget.withdraw("unknown")
    assert budget.waiting() == ["b1"]
