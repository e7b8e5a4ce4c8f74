"""`app.definitions.registry`: the definitions of the configuration and of CronJobs, together."""

import pytest

from app.definitions.registry import DefinitionsUnreadError, Registry, UnknownDefinitionError
from schemas.configuration import parse_configuration
from schemas.definition import Definition, Source


def definitions(*names: str, slots: int = 1, source: Source = "Configuration") -> dict[str, Definition]:
    return {name: Definition(name, "busybox:1", number_parallel_job=slots, source=source) for name in names}


def from_cronjobs(*names: str) -> dict[str, Definition]:
    return definitions(*names, slots=7, source="CronJob")


def test_registry__has_both_sources_the_configuration_first() -> None:
    registry = Registry(definitions("z", "y"))
    registry.replace_cronjobs(from_cronjobs("a", "b"))
    assert [definition.name for definition in registry.all()] == ["z", "y", "a", "b"]
    assert registry.slots() == {"z": 1, "y": 1, "a": 7, "b": 7}
    assert registry.get("a").source == "CronJob"
    assert registry.overridden() == frozenset()


def test_registry__lets_the_configuration_win() -> None:
    registry = Registry(definitions("a"))
    registry.replace_cronjobs(from_cronjobs("a", "b"))
    assert [registry.get("a").source, registry.slots()["a"]] == ["Configuration", 1]
    assert registry.overridden() == {"a"}


def test_registry__takes_the_cronjob_when_the_configuration_drops_the_name() -> None:
    registry = Registry(definitions("a", "c"))
    registry.replace_cronjobs(from_cronjobs("a"))
    registry.replace(definitions("c"))
    assert registry.get("a").source == "CronJob"
    registry.replace(definitions("a"))
    assert registry.get("a").source == "Configuration"


def test_registry__does_not_call_a_name_unknown_before_cronjobs_were_read() -> None:
    registry = Registry(definitions("a"))
    registry.await_cronjobs(True)
    assert registry.get("a").name == "a"
    with pytest.raises(DefinitionsUnreadError):
        registry.get("b")
    registry.replace_cronjobs({})
    with pytest.raises(UnknownDefinitionError):
        registry.get("b")


def test_fallback__does_not_answer_for_a_cronjob_that_is_refused() -> None:
    """Its callers mean that job, and get 404 until it is valid."""
    registry = Registry(definitions("default"))
    registry.replace_cronjobs({}, frozenset({"report"}))
    assert registry.fallback("Report") is None
    assert registry.fallback("other") is not None
    registry.replace_cronjobs({})
    assert registry.fallback("report") is not None


def test_fallback__is_never_a_cronjob() -> None:
    """Who may write CronJobs must not answer for all unknown names."""
    registry = Registry({})
    registry.replace_cronjobs(from_cronjobs("default"))
    assert registry.fallback("x") is None
    registry.replace(definitions("default"))
    found = registry.fallback("x")
    assert found is not None
    assert found.source == "Configuration"


def test_registry__lets_the_configuration_win_over_a_cronjob_whose_name_differs_in_case() -> None:
    """A CronJob's name is in lower case."""
    registry = Registry(parse_configuration('{"Configurations": {"Report": {"Image": "busybox:1"}}}'))
    registry.replace_cronjobs(from_cronjobs("report"))
    assert [registry.get(name).source for name in ("report", "REPORT")] == ["Configuration"] * 2
    assert registry.overridden() == {"report"}
