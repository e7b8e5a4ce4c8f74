"""`make dev`: run the embedded cluster and the service on this machine, with the user's own jobs, until Ctrl-C.

Without `--jobs` it uses the demo's definition and first runs a job of it. It prints a line for every change of a run or
of the definitions, with commands to paste into another terminal.
"""

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests
from kubernetes import client

from devcluster.demo import run_job
from devcluster.launch import (
    DEADLINE_SECONDS,
    HTTP,
    NAMESPACE,
    DemoError,
    Processes,
    connect,
    create_demo_dependency,
    end_with_starter,
    write_demo_jobs,
)

_DEFAULT_PORT = 30021
_POLL_SECONDS = 0.5
_NAME_INFIX = "-slimfaas-job-"
"""The text between definition and id in the names of Jobs that requests make."""
_DEFINITION_LABEL = "slimfaas.dev/job"
"""On runs: the name of the definition."""


def main(arguments: list[str] | None = None) -> int:
    """Run until a signal or the end of the starting shell, and return the exit code: 0, or 1 after an error."""
    options = _parse(arguments)
    end_with_starter()
    try:
        port = _choose_port(os.environ.get("PORT") or str(_DEFAULT_PORT))
        for file in filter(None, (options.jobs, options.images)):
            if not file.is_file():
                raise DemoError(f"file not found: {file}")
        with Processes() as processes:
            kubeconfig = processes.start_cluster(options.images and options.images.resolve())
            jobs = options.jobs.resolve() if options.jobs else write_demo_jobs(processes.folder, every_minute=True)
            url = processes.start_service(kubeconfig, port, jobs)
            location = None
            if options.jobs is None:
                create_demo_dependency(kubeconfig)
                location = run_job(url, kubeconfig)
            _show_changes(processes, url, kubeconfig, jobs, describe(url, kubeconfig, jobs, location))
    except KeyboardInterrupt:
        return 0
    except (DemoError, requests.RequestException) as error:
        print(f"dev: {error}", file=sys.stderr)
        return 1
    return 0


def describe(url: str, kubeconfig: Path, jobs: Path, location: str | None) -> str:
    """Return a message with the URLs and the commands to try.

    Args:
        url: the service's URL.
        kubeconfig: the cluster's kubeconfig.
        jobs: the file with the definitions.
        location: the path of an existing run; `None` if there is none yet.
    """
    lines = ["", f"Open {url}/ui in a browser: it shows the definitions of {jobs}.", ""]
    lines += ["Or paste commands into another terminal:", ""]
    public, private = _read_names(jobs)
    program = Path(sys.executable).with_name("slimfaas-jobs")
    command = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    # The demo's program needs an argument.
    arguments, body = (" -- 30", """ -d '{"Args": ["30"]}'""") if location else ("", "")
    lines.append(f"  {'first':<30}export SLIMFAAS_URL={url}")
    lines += [f"  {f'run {name}, see its log':<30}{command} run {name} --follow{arguments}" for name in public]
    lines.append(f"  {'definitions and queues':<30}{command} status")
    lines.append(f"  {'all runs':<30}{command} list")
    lines += ["", "The same by HTTP alone:", ""]
    lines += [f"  {f'start a run of {name}':<30}curl -X POST {url}/job/{name}{body}" for name in public]
    lines.append(f"  {'definitions and queues':<30}curl {url}/jobs/status")
    if location:
        lines.append(f"  {'the schedule of every minute':<30}curl {url}/job-schedules/fibonacci")
        lines.append(f"  {'the run that has just ended':<30}curl {url}{location}")
        lines.append(f"  {'its log':<30}curl {url}{location}/logs")
    lines.append(f"  {'for kubectl':<30}export KUBECONFIG={kubeconfig}")
    if private:
        lines += ["", f'Not callable from this machine without "Visibility": "Public": {", ".join(private)}.']
    lines += [
        "",
        "A change of the file takes effect two seconds later. Changes of runs are shown here. Ctrl-C ends everything.",
        "",
    ]
    return "\n".join(lines)


def _read_names(jobs: Path) -> tuple[list[str], list[str]]:
    """Return the names of a valid file's public definitions and of its private ones."""
    definitions: dict[str, dict[str, Any]] = json.loads(jobs.read_text("utf-8"))["Configurations"]
    public = [name for name, definition in definitions.items() if definition.get("Visibility") == "Public"]
    return public, [name for name in definitions if name not in public]


def _show_changes(processes: Processes, url: str, kubeconfig: Path, jobs: Path, message: str) -> None:
    """Print a message, then changes of runs and definitions until one of the processes ends.

    The message has commands that start runs. What is there is read before it is printed, so that a run which ends at
    once still counts as a change.
    """
    with connect(kubeconfig) as api:
        batch: Any = client.BatchV1Api(api)
        states = _states(batch)
        loaded = _loaded_at(url)
        print(message, flush=True)
        while True:
            processes.check()
            time.sleep(_POLL_SECONDS)
            found = _states(batch)
            for line in changes(url, states, found):
                print(line, flush=True)
            states = found
            before, loaded = loaded, _loaded_at(url)
            if loaded != before:
                print(f"the service has reloaded {jobs}", flush=True)


Run = tuple[str, str]
"""The definition of a run, and its id."""


def changes(url: str, before: Mapping[Run, str], after: Mapping[Run, str]) -> Iterator[str]:
    """Yield a line for each changed run, with a command that shows more while there is more to show.

    Args:
        url: the service's URL.
        before: the previous state of each run.
        after: the current state of each run.
    """
    for (definition, run_id), state in after.items():
        if state != before.get((definition, run_id)):
            logs = "/logs" if state in ("succeeded", "failed") else ""
            command = "" if state == "cancelled" else f"curl {url}/job/{definition}/{run_id}{logs}"
            yield f"{definition} {run_id} {state:<10} {command}".rstrip()
    for definition, run_id in before.keys() - after.keys():
        if before[definition, run_id] in ("queued", "started"):
            yield f"{definition} {run_id} cancelled"


def _states(batch: Any) -> dict[Run, str]:
    jobs = batch.list_namespaced_job(NAMESPACE, label_selector=_DEFINITION_LABEL).items
    return {identify(job.metadata.name, job.metadata.labels[_DEFINITION_LABEL]): _state(job) for job in jobs}


def identify(name: str, definition: str) -> Run:
    """Return the run of a Job. If no request has made it, its id is the Job's name."""
    return definition, name.removeprefix(f"{definition}{_NAME_INFIX}")


def _state(job: Any) -> str:
    ends = {"Complete": "succeeded", "Failed": "failed"}
    for condition in job.status.conditions or ():
        if condition.status == "True" and condition.type in ends:
            return ends[condition.type]
    if job.metadata.deletion_timestamp:
        return "cancelled"
    return "queued" if job.spec.suspend else "started"


def _loaded_at(url: str) -> int:
    """Return when the service last loaded its definitions, in Unix milliseconds."""
    loaded: int = HTTP.get(f"{url}/ready", timeout=DEADLINE_SECONDS).json()["Configuration"]["LoadTimestamp"]
    return loaded


def _choose_port(text: str) -> int:
    """Return the port as a number, after checking that nothing else listens on it."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise DemoError(f"PORT={text} is not a port number")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
        try:
            probe.bind(("127.0.0.1", int(text)))
        except OSError as error:
            raise DemoError(f"port {text} is in use; choose another one: make dev PORT=31021") from error
    return int(text)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devcluster.dev", description=main.__doc__)
    parser.add_argument("--jobs", type=Path, metavar="FILE", help="definitions, as JSON; default: the demo's")
    parser.add_argument("--images", type=Path, metavar="FILE", help="further images, see python -m devcluster --help")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
