"""Maps a field of a Job back to the field of the definition that it was made from, for the API server's messages."""

import re

from app.kube.errors import field_steps
from schemas.faults import pointer_to
from schemas.template import Template

_CONTAINER = r"spec\.template\.spec\.containers\[0\]"
_OWN_VARIABLES = 2
"""Before the definition's variables the container has `SLIMFAAS_JOB_NAME` and `SLIMFAAS_JOB_ID` (`manifests`)."""

_PATHS: tuple[tuple[str, str], ...] = (
    (rf"{_CONTAINER}\.image", "/Image"),
    (rf"{_CONTAINER}\.command", "/Command"),
    (rf"{_CONTAINER}\.args", "/Args"),
    (rf"{_CONTAINER}\.resources\.requests", "/Resources/Requests"),
    (rf"{_CONTAINER}\.resources\.limits", "/Resources/Limits"),
    (rf"{_CONTAINER}\.resources", "/Resources"),
    (rf"{_CONTAINER}\.env", "/Environments"),
    (rf"{_CONTAINER}\.securityContext\.capabilities", "/SecurityContext/Capabilities"),
    (rf"{_CONTAINER}\.securityContext", "/SecurityContext"),
    (r"spec\.template\.spec\.securityContext\.seccompProfile", "/SecurityContext/SeccompProfile"),
    (r"spec\.template\.spec\.securityContext", "/SecurityContext"),
    (r"spec\.template\.spec\.serviceAccountName", "/ServiceAccountName"),
    (r"spec\.template\.spec\.restartPolicy", "/RestartPolicy"),
    (r"spec\.activeDeadlineSeconds", "/TimeoutSeconds"),
    (r"spec\.backoffLimit", "/BackoffLimit"),
    (r"spec\.ttlSecondsAfterFinished", "/TtlSecondsAfterFinished"),
)
"""The beginning of a Job's path, and the pointer below the definition; the first that fits counts."""

_KEY = re.compile(r"\[([^\]]+)\]")


def definition_pointer(job_field: str, template: Template | None = None) -> str:
    """Find the field of a definition behind a field of its Job.

    Args:
        job_field: as the API server writes it: `spec.template.spec.containers[0].resources.limits[cpu]`.
        template: of the definition; `None`: it has none.

    Returns:
        A JSON pointer below the definition; empty if no single field is at fault.
    """
    return _plain_pointer(job_field) if template is None else _template_pointer(job_field, template)


def _template_pointer(job_field: str, template: Template) -> str:
    """Find the field where it is said: beside the template, or else in it."""
    steps: list[str | int] = [*field_steps(job_field)]
    if not steps or steps[0] not in ("metadata", "spec"):
        return ""
    own = f"spec.template.spec.containers[{template.index}]"
    if (variable := re.match(rf"{re.escape(own)}\.env\[(\d+)\]", job_field)) is not None:
        number = int(variable[1]) - _OWN_VARIABLES
        if number < 0:
            return ""
        if number >= template.variables:
            return pointer_to("Environments", number - template.variables)
        steps[steps.index("env") + 1] = number
    elif not job_field.startswith("spec.template.spec.containers[0]") or template.index == 0:
        beside = _plain_pointer(job_field.replace(own, "spec.template.spec.containers[0]", 1))
        if beside and field_steps(beside.replace("/", "."))[0] in template.said_beside:
            return beside
    return pointer_to("JobTemplate", *steps)


def _plain_pointer(job_field: str) -> str:
    for beginning, pointer in _PATHS:
        match = re.match(rf"{beginning}(?![A-Za-z])", job_field)
        if match is None:
            continue
        rest = job_field[match.end() :]
        if pointer in ("/Resources/Requests", "/Resources/Limits"):
            key = _KEY.match(rest)
            return pointer + (pointer_to(key[1]) if key else "")
        if pointer == "/Environments" and (key := _KEY.match(rest)) and key[1].isdecimal():
            own = int(key[1]) - _OWN_VARIABLES
            return f"{pointer}/{own}" if own >= 0 else ""
        return pointer
    return ""
