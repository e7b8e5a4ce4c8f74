"""What it costs to ask about runs while thousands are queued, beside a raw list of the same Jobs.

    python -m benchmarks.queries --kubeconfig FILE [--jobs 2000 10000]

Each size is measured in a process of its own that holds nothing but the application. Raw list and calls take turns;
a call waits for a list of its own: the one that it would share with others has grown too old before it begins. The API
server must be on this machine; namespaces are made and removed.
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
"""After so long a list is not shared any more (`app.runs.listing`)."""

_FILL_SECONDS = 300.0


def measure(kubeconfig: str, name: str, rounds: int) -> dict[str, float]:
    """Ask in turns; medians in milliseconds, ratios to the raw list, and memory in MiB."""
    from app.factory import create_app
    from app.settings import Settings

    namespace = open_namespace(read_configuration(kubeconfig), name)
    definitions = {"Configurations": {SPEC.definition: {"Image": SPEC.image, "Visibility": "Public"}}}
    settings = Settings(configuration=json.dumps(definitions), kubeconfig=kubeconfig, namespace=name, dispatcher=False)
    client = create_app(settings).test_client()

    def ask(path: str) -> None:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text

    def list_raw() -> None:
        assert sum(1 for _ in namespace.objects(namespace.runs_of(SPEC.definition)))

    newest = json.loads(client.get(f"/job/{SPEC.definition}?limit=1").data)[0]["Id"]
    ways: dict[str, Callable[[], None]] = {
        "raw": list_raw,
        "list": lambda: ask(f"/job/{SPEC.definition}"),
        "run": lambda: ask(f"/job/{SPEC.definition}/{newest}"),
    }
    pss_before, took_ms = read_pss_mib(), {way: list[float]() for way in ways}
    reset_peak()
    for _ in range(rounds):
        for way, call in ways.items():
            time.sleep(_FRESH_SECONDS)
            began = time.perf_counter()
            call()
            took_ms[way].append((time.perf_counter() - began) * 1000)
    figures = {f"{way}_ms": statistics.median(times) for way, times in took_ms.items()}
    ratios = {f"{way}_to_raw": figures[f"{way}_ms"] / figures["raw_ms"] for way in ("list", "run")}
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
    """Fill namespaces, measure each, and print one line of figures for each."""
    parser = argparse.ArgumentParser(description="The cost of asking about runs.")
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG"), help="else KUBECONFIG")
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
