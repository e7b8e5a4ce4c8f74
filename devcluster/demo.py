"""`make demo`: start the embedded cluster and the service on this machine, and run one job.

The service runs as in a real cluster: under gunicorn with its own configuration file, against an API server, through
the official client. The job's output comes from a real process.
"""

import sys
import time
from pathlib import Path
from typing import Any

import requests
from kubernetes import client

from devcluster.launch import (
    DEADLINE_SECONDS,
    HTTP,
    NAMESPACE,
    DemoError,
    Processes,
    connect,
    create_demo_dependency,
    end_with_starter,
    find_free_port,
    write_demo_jobs,
)

_ARGUMENT, _EXPECTED = "42", "267914296"


def main() -> int:
    """Run the demo, and return its exit code: 0 only if the job's output is right."""
    end_with_starter()
    try:
        with Processes() as processes:
            kubeconfig = processes.start_cluster()
            url = processes.start_service(kubeconfig, find_free_port(), write_demo_jobs(processes.folder))
            print(f"the service listens on {url}", flush=True)
            create_demo_dependency(kubeconfig)
            run_job(url, kubeconfig)
    except KeyboardInterrupt:
        return 130
    except (DemoError, requests.RequestException) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def run_job(url: str, kubeconfig: Path) -> str:
    """Start a run, and print its states and its output.

    Returns:
        The run's path at the service.

    Raises:
        DemoError: the run did not succeed in time, or its output is wrong.
    """
    body = f'{{"Args": ["{_ARGUMENT}"]}}'
    print(f"\n$ curl -X POST {url}/job/fibonacci -d '{body}'")
    response = HTTP.post(f"{url}/job/fibonacci", data=body, timeout=DEADLINE_SECONDS)
    print(f"{response.status_code} {response.text.strip()}", flush=True)
    if response.status_code != 202:
        raise DemoError("the run was not accepted")
    location = response.headers["Location"]
    run = follow(url + location)
    if run["Status"] != "Succeeded":
        raise DemoError(f"the run ended as {run['Status']}: {run['Message']}")
    output = read_output(kubeconfig, run["Name"])
    print(f"\n$ kubectl logs job/{run['Name']}\n{output}", flush=True)
    if output.strip() != _EXPECTED:
        raise DemoError(f"the output is not {_EXPECTED}")
    print(f"The {_ARGUMENT}nd Fibonacci number, from a run that waited for its dependency: done.", flush=True)
    return location


def follow(url: str) -> dict[str, Any]:
    """Print every change of a run until it has ended, and return its last state."""
    print(f"\n$ curl {url}")
    shown, deadline = "", time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        response = HTTP.get(url, timeout=DEADLINE_SECONDS)
        if response.status_code != 200:
            raise DemoError(f"cannot read the run: {response.status_code} {response.text}")
        run: dict[str, Any] = response.json()
        state = f"{run['Status']:<10} {run['Message']}".rstrip()
        if state != shown:
            print(state, flush=True)
            shown = state
        if run["Status"] in ("Succeeded", "Failed"):
            return run
        time.sleep(0.2)
    raise DemoError(f"the run did not end within {DEADLINE_SECONDS:.0f} s")


def read_output(kubeconfig: Path, job: str) -> str:
    """Return the logs of a Job's pods."""
    with connect(kubeconfig) as api:
        core = client.CoreV1Api(api)
        pods = core.list_namespaced_pod(NAMESPACE, label_selector=f"batch.kubernetes.io/job-name={job}").items
        names = [pod.metadata.name for pod in pods if pod.metadata and pod.metadata.name]
        return "".join(core.read_namespaced_pod_log(name, NAMESPACE) for name in names)


if __name__ == "__main__":
    sys.exit(main())
