"""Measure the cost of importing each library: `python benchmarks/libraries.py`.

It measures time and memory, as PSS and as RSS (which a container is charged if no other process maps the same files).
Each library is measured alone, and in addition to urllib3, Flask and gunicorn. Each figure is the best of
three processes. Libraries that are not installed are listed as such. Conclusions: docs/adr/0004-libraries.md.
"""

import argparse
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_REPEATS = 3

_CLIENT = "from kubernetes import config; from kubernetes.client import ApiClient, Configuration"
_BASE = "import urllib3, flask, gunicorn.app.wsgiapp, gunicorn.workers.gthread"
_CONFIGURATION = '{"Configurations": {"fibonacci": {"Image": "axaguildev/fibonacci-batch:1.0.1"}}}'

CASES = {
    "kubernetes: ApiClient": _CLIENT,
    "kubernetes: classes of four groups": (
        "from kubernetes.client import AppsV1Api, BatchV1Api, CoordinationV1Api, CoreV1Api"
    ),
    "flask": "import flask",
    "gunicorn": "import gunicorn.app.wsgiapp, gunicorn.workers.gthread",
    "these three": _BASE,
    "urllib3": "import urllib3",
    "PyYAML": "import yaml",
    "marshmallow": "import marshmallow",
    "jsonschema": "import jsonschema",
    "jsonschema, a configuration checked": (
        f"from schemas.configuration import parse_configuration; parse_configuration({_CONFIGURATION!r})"
    ),
    "argparse": "import argparse; argparse.ArgumentParser().add_subparsers().add_parser('x').add_argument('y')",
    "click": "import click; click.group()(lambda: None).command('x')(click.argument('y')(lambda y: None))",
    "pydantic": "import pydantic",
    "requests": "import requests",
    "requests-oauthlib": "import requests_oauthlib",
    "websocket-client": "import websocket",
    "prometheus-client": "import prometheus_client",
    "structlog": "import structlog",
    "apispec": "import apispec.ext.marshmallow",
    "flask-smorest": "import flask_smorest",
    "h11": "import h11",
    "responses": "import responses",
    "hypothesis": "import hypothesis",
    "zoneinfo, one zone": "from zoneinfo import ZoneInfo; ZoneInfo('Europe/Paris')",
    "cronsim": "import cronsim",
    "croniter": "import croniter",
    "the service": "import app.factory",
}
"""The statements to measure: the import, and a first use where that has one-time costs."""


_CHILD = """
import sys, time

def read_kib():
    with open("/proc/self/smaps_rollup") as fields:
        return [int(field.split()[1]) for field in fields if field.startswith(("Rss:", "Pss:"))]

exec(sys.argv[1], {})
before, began = read_kib(), time.perf_counter()
exec(sys.argv[2], {})
seconds = time.perf_counter() - began
rss_kib, pss_kib = (now - then for now, then in zip(read_kib(), before))
print(seconds * 1000, pss_kib / 1024, rss_kib / 1024)
"""
"""The program of the measured process, which imports nothing else."""


@dataclass(frozen=True, order=True)
class Cost:
    """The cost of a statement.

    Attributes:
        ms: the time in milliseconds.
        pss_mib: the memory, shared pages counted proportionally.
        rss_mib: the memory, shared pages counted in full.
    """

    ms: float
    pss_mib: float
    rss_mib: float


def measure(statement: str, before: str = "") -> Cost | None:
    """Measure a statement in new processes; return `None` if its library is not installed.

    Args:
        statement: the statement to measure.
        before: a statement to run before the measurement.
    """
    costs = []
    for _ in range(_REPEATS):
        command = [sys.executable, "-c", _CHILD, before, statement]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
        if "ModuleNotFoundError" in done.stderr:
            return None
        if done.returncode:
            raise RuntimeError(done.stderr)
        costs.append(Cost(*map(float, done.stdout.split())))
    return min(costs)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description="The cost of importing each library.").parse_args()
    print(f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}")
    print(f"{'':38}{'alone':^27}{'on top of the three':^27}".rstrip())
    print(f"{'':38}{('PSS MiB   RSS MiB       ms ' * 2)}".rstrip())
    for name, statement in CASES.items():
        costs = [measure(statement, before) for before in ("", _BASE)]
        cells = "".join(f"{cost.pss_mib:7.1f} {cost.rss_mib:9.1f} {cost.ms:8.0f} " for cost in costs if cost)
        print(f"{name:38}{cells or 'not installed'}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
