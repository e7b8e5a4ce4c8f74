"""Which values a cache keeps, and for how long."""

from app.common.expiring_cache import ExpiringCache
from tests.support.clock import Clock


def test_get__returns_a_value_until_it_expires() -> None:
    clock = Clock()
    cache: ExpiringCache[str, int] = ExpiringCache(1.0, clock=clock)
    assert cache.get("a") is None
    cache.put("a", 1)
    clock.now += 0.9
    assert cache.get("a") == 1
    clock.now += 0.1
    assert cache.get("a") is None


def test_put__makes_a_known_key_fresh_again() -> None:
    clock = Clock()
    cache: ExpiringCache[str, int] = ExpiringCache(1.0, clock=clock)
    cache.put("a", 1)
    clock.now += 0.9
    cache.put("a", 2)
    clock.now += 0.9
    assert cache.get("a") == 2


def test_put__drops_the_oldest_values_beyond_the_limit() -> None:
    cache: ExpiringCache[str, int] = ExpiringCache(1.0, max_entries=2, clock=Clock())
    cache.put("a", 1)
    cache.put("b", 2)
    cache.put("a", 3)
    cache.put("c", 4)
    assert [cache.get(key) for key in "abc"] == [3, None, 4]
    assert len(cache) == 2


def test_drop_expired__frees_expired_values_only() -> None:
    clock = Clock()
    cache: ExpiringCache[str, int] = ExpiringCache(1.0, clock=clock)
    cache.put("a", 1)
    clock.now += 0.5
    cache.put("b", 2)
    clock.now += 0.5
    cache.drop_expired()
    assert len(cache) == 1
    assert cache.get("b") == 2
