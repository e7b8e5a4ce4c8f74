"""Measure reads of runs while thousands are queued, compared with a raw list of the same Jobs.

    python -m benchmarks.queries --kubeconfig FILE [--jobs 2000 10000]

Each size is measured in its own process, which holds only the application. Raw lists and requests take turns. Each
request needs a new list, because the shared one has expired before. The API server must be on this machine; namespaces
are created and deleted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.memory import read_peak_rss_mib, read_pss_mib, reset_peak
from benchmarks.target import (
    SPEC,
    create_namespaces,
    delete_namespaces,
    fill,
    open_namespace,
    read_configuration,
    report,
)

_FRESH_SECONDS = 1.1
"""Longer than a list is shared (`app.runs.listing`)."""

_FILL_SECONDS = 300.0


def measure(kubeconfig: str, name: str, rounds: int) -> dict[str, float]:
    """Measure in turns; return medians in milliseconds, ratios to the raw list, and memory in MiB."""
    from app.factory import create_app
    from app.settings import Settings

    namespace = open_namespace(read_configuration(kubeconfig), name)
    definitions = {"Configurations": {SPEC.definition: {"Image": SPEC.image, "Visibility": "Public"}}}
    settings = Settings(
        configuration=json.dumps(definitions),
        kubeconfig=kubeconfig,
        namespace=name,
        dispatcher=False,
        public_listing=True,
    )
    client = create_app(settings).test_client()

    def get(path: str) -> None:
        response = client.get(path)
        assert response.status_code == 200, response.text

    def list_raw() -> None:
        assert sum(1 for _ in namespace.objects(namespace.runs_of(SPEC.definition)))

    newest = json.loads(client.get(f"/job/{SPEC.definition}?limit=1").data)[0]["Id"]
    methods: dict[str, Callable[[], None]] = {
        "raw": list_raw,
        "list": lambda: get(f"/job/{SPEC.definition}"),
        "run": lambda: get(f"/job/{SPEC.definition}/{newest}"),
    }
    pss_before, took_ms = read_pss_mib(), {method: list[float]() for method in methods}
    reset_peak()
    for _ in range(rounds):
        for method, call in methods.items():
            time.sleep(_FRESH_SECONDS)
            began = time.perf_counter()
            call()
            took_ms[method].append((time.perf_counter() - began) * 1000)
    figures = {f"{method}_ms": statistics.median(times) for method, times in took_ms.items()}
    ratios = {f"{method}_to_raw": figures[f"{method}_ms"] / figures["raw_ms"] for method in ("list", "run")}
    return (
        figures
        | ratios
        | {
            "pss_before_mib": pss_before,
            "pss_after_mib": read_pss_mib(),
            "peak_rss_mib": read_peak_rss_mib(),
        }
    )


def main() -> None:
    """Fill namespaces, measure each, and print one line of figures per namespace."""
    parser = argparse.ArgumentParser(description="The cost of asking about runs.")
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG"), help="default: KUBECONFIG")
    parser.add_argument("--jobs", type=int, nargs="+", default=[2000, 10000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--namespace", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.namespace:
        figures = measure(given.kubeconfig, given.namespace, given.rounds)
        report(**{key: round(value, 2) for key, value in figures.items()})
        return
    configuration = read_configuration(given.kubeconfig)
    for jobs in given.jobs:
        name = f"bench-queries-{jobs}"
        create_namespaces(configuration, [name])
        try:
            fill(open_namespace(configuration, name), jobs, timeout_seconds=_FILL_SECONDS)
            command = [sys.executable, "-m", "benchmarks.queries", "--kubeconfig", given.kubeconfig]
            command += ["--namespace", name, "--rounds", str(given.rounds)]
            print(
                jobs, subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, end="", flush=True
            )
        finally:
            delete_namespaces(configuration, [name])


if __name__ == "__main__":
    main()
