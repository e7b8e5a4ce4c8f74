"""Measure what RBAC mode costs: reviews by the API server, remembered answers, and the memory of full caches.

    python -m benchmarks.permissions --kubeconfig FILE [--rounds 300]

The kubeconfig is an administrator's. The reviews' own times are compared with that
of one read of a Lease over the same connection, in turns.
"""

import argparse
import secrets
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import suppress

from app.auth.actions import Action
from app.auth.reviews import Reviews
from app.auth.users import User
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.kube.errors import NotFoundError

_TOKENS, _ANSWERS = 512, 1024
_USER_BYTES = 1500
"""Of a user with about 40 groups."""


def main() -> None:
    """Measure, and print one line per figure."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--kubeconfig", required=True)
    options.add_argument("--rounds", type=int, default=300)
    given = options.parse_args()
    namespaced = NamespacedClient(connect(given.kubeconfig, "default"))
    token = make_token(namespaced)
    user = Reviews(namespaced, "slimfaas-jobs", ConcurrencyLimiter()).find_user(token)
    remembering = Reviews(namespaced, "slimfaas-jobs", ConcurrencyLimiter(), clock=lambda: 0.0)

    def read_lease() -> None:
        with suppress(NotFoundError):
            namespaced.get_lease("no-such-lease")

    def forgetful() -> Reviews:
        return Reviews(namespaced, "slimfaas-jobs", ConcurrencyLimiter())

    seconds: dict[str, list[float]] = {}
    methods: dict[str, Callable[[], object]] = {
        "read of a Lease": read_lease,
        "TokenReview": lambda: forgetful().find_user(token),
        "SubjectAccessReview": lambda: forgetful().is_allowed(user, Action.START, "fibonacci"),
        "both, remembered": lambda: remembering.is_allowed(remembering.find_user(token), Action.START, "fibonacci"),
    }
    for _ in range(given.rounds):
        for name, method in methods.items():
            began = time.perf_counter()
            method()
            seconds.setdefault(name, []).append(time.perf_counter() - began)
    for name, values in seconds.items():
        print(f"{name}: p50 {percentile(values, 50):.3f} ms, p99 {percentile(values, 99):.3f} ms")
    print(f"full caches: {measure_memory():.2f} MiB")


def percentile(values: Iterable[float], share: int) -> float:
    """Return a percentile in milliseconds."""
    return statistics.quantiles(values, n=100)[share - 1] * 1000


def make_token(namespaced: NamespacedClient) -> str:
    """Make a token of the namespace's default ServiceAccount, for the service's audience."""
    path = f"/api/v1/namespaces/{namespaced.name}/serviceaccounts/default/token"
    body = {"spec": {"audiences": ["slimfaas-jobs"], "expirationSeconds": 3600}}
    token: str = namespaced.transport.call("POST", path, body=body)["status"]["token"]
    return token


def measure_memory() -> float:
    """Return the MiB that caches take which hold as many users and answers as they may."""
    reviews = Reviews(_Answering(), "slimfaas-jobs", ConcurrencyLimiter(), clock=lambda: 0.0)  # type: ignore[arg-type]
    tracemalloc.start()
    for number in range(2 * _TOKENS):
        reviews.find_user(f"token-{number}")
    for number in range(2 * _ANSWERS):
        reviews.is_allowed(User(f"user-{number % 100}"), Action.START, f"definition-{number}")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / 1024 / 1024


class _Answering:
    """Answers reviews at once, with a user that has many groups."""

    def review_token(self, token: str, audience: str | None) -> dict[str, object]:
        groups = [secrets.token_hex(16) for _ in range(_USER_BYTES // 36)]
        return {"authenticated": True, "user": {"username": token, "groups": groups}, "audiences": [audience]}

    def review_access(self, subject: object, attributes: object) -> dict[str, object]:
        return {"allowed": True}


if __name__ == "__main__":
    main()
