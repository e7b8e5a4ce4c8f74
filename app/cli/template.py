"""`slimfaas-jobs template`: make a configuration of the Jobs and CronJobs in manifests."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from app.kube import labels
from schemas.template_rules import ownership_faults

_STDIN = "-"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def print_configuration(file: str) -> int:
    """Print a configuration with a definition for each Job and CronJob of a file. What is left out is told on stderr.

    Args:
        file: the path of a manifest in YAML or JSON, which may have several documents; `-`: standard input.

    Returns:
        The exit code. 0: printed; 1: the file has no Job and no CronJob, or cannot be read.
    """
    try:
        text = sys.stdin.read() if file == _STDIN else Path(file).read_text("utf-8")
        documents = list(yaml.safe_load_all(text))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        print(f"{file}: {error}", file=sys.stderr)
        return 1
    definitions = dict(_find_templates(documents))
    if not definitions:
        print(f"no Job and no CronJob found in: {file}", file=sys.stderr)
        return 1
    configurations = {}
    for name, job in definitions.items():
        configurations[name] = {"JobTemplate": job, **_read_kueue_fields(job)}
        for pointer, reason in _leave_out(job):
            print(f"{name}: left out {pointer}: {reason}", file=sys.stderr)
    print(json.dumps({"Configurations": configurations}, indent=2, default=str))
    return 0


def _find_templates(documents: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and a copy of the template of each Job and CronJob, also of those in lists."""
    for document in documents:
        if not isinstance(document, dict):
            continue
        if isinstance(document.get("items"), list):
            yield from _find_templates(document["items"])
            continue
        spec = document.get("spec")
        template = {
            "Job": {"metadata": document.get("metadata"), "spec": spec},
            "CronJob": spec.get("jobTemplate") if isinstance(spec, dict) else None,
        }.get(str(document.get("kind")))
        if _is_template(template):
            metadata = document.get("metadata")
            name = metadata.get("name") if isinstance(metadata, dict) else None
            yield str(name or "job"), json.loads(json.dumps(template, default=str))


def _is_template(template: object) -> bool:
    """Return whether a template has the parts that are looked into here; `validate` checks the rest."""
    spec = template.get("spec") if isinstance(template, dict) else None
    pod = spec.get("template") if isinstance(spec, dict) else None
    return isinstance(pod, dict)


def _read_kueue_fields(job: dict[str, Any]) -> dict[str, str]:
    """Return what the labels of a template say of Kueue as fields of a definition."""
    metadata = job.get("metadata")
    own = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(own, dict) or not own.get(labels.LOCAL_QUEUE_LABEL):
        return {}
    found = {"Queue": own[labels.LOCAL_QUEUE_LABEL], "Priority": own.get(labels.PRIORITY_LABEL)}
    return {field: value for field, value in found.items() if value}


def _leave_out(job: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Remove what the service or Kubernetes sets on each run; yields the pointer and why it is not the template's."""
    for metadata in (job.get("metadata"), job["spec"]["template"].get("metadata")):
        if isinstance(metadata, dict):
            (metadata.get("annotations") or {}).pop(_LAST_APPLIED, None)
    for fault in list(ownership_faults((), {**job, "metadata": job.get("metadata") or {}})):
        steps = [step.replace("~1", "/").replace("~0", "~") for step in fault.pointer.split("/")[1:]]
        if "metadata" in steps or steps[-1] in ("selector", "manualSelector", "suspend"):
            holder: Mapping[str, Any] = job
            for step in steps[:-1]:
                holder = holder[step]
            assert isinstance(holder, dict)
            del holder[steps[-1]]
            yield fault.pointer, fault.message
    for holder in (job, job["spec"]["template"]):
        metadata = holder.get("metadata")
        if isinstance(metadata, dict):
            kept = {key: value for key, value in metadata.items() if value}
            holder["metadata"] = kept
            if not kept:
                del holder["metadata"]
