"""A schedule that a request makes asks for exactly what a run of a request may ask for."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.domain.request_context import RequestContext
from app.kube.manifests import build_job
from app.kube.schedules import build_requested_cronjob
from schemas.definition import Definition
from schemas.faults import Fault, Refused
from schemas.merge import RunSpec, merge
from schemas.request import read_request
from schemas.schedules import check_schedule, read_schedule
from tests.unit.kube.test_manifests import MOMENT
from tests.unit.schemas.test_merge_properties import REQUESTS, definitions

ODD = st.sampled_from(
    [
        {"Environments": [{"Name": "A", "SecretRef": {"Name": "s", "Key": "k"}}]},
        {"Environments": [{"Name": "LD_PRELOAD", "Value": "x"}]},
        {"Command": ["sh"]},
        {"ServiceAccountName": "admin"},
        {"Visibility": "Private"},
        {"Args": "x"},
        {"Resources": {"Limits": {"cpu": 2}}},
    ]
)
"""Bodies beyond those that have the types of a request."""


def attempt(check: Callable[[], RunSpec]) -> tuple[RunSpec | None, set[Fault]]:
    """Return the run's specification, or the faults."""
    try:
        return check(), set()
    except Refused as refusal:
        return None, set(refusal.faults)


@given(definitions(), REQUESTS | ODD)
def test_schedule__is_refused_exactly_if_a_request_for_a_run_is(definition: Definition, body: dict[str, Any]) -> None:
    """With the same faults. What it may ask for gives the same pod."""
    request, faults = read_request(json.dumps(body).encode())
    schedule, more_faults = read_schedule(json.dumps({**body, "Schedule": "@daily"}).encode())
    run, run_faults = attempt(lambda: merge(definition, request, faults))
    spec, schedule_faults = attempt(lambda: check_schedule(definition, schedule, more_faults))
    assert {(fault.pointer, fault.message.partition(";")[0]) for fault in schedule_faults} == {
        (fault.pointer, fault.message.partition(";")[0]) for fault in run_faults
    }  # which field an unknown one may have meant depends on which fields there are
    assert spec == run
    if spec is None or run is None:
        return
    context = RequestContext(request_id="request", started_by="jane")
    cronjob = build_requested_cronjob(schedule, spec, "abcdefghijkl", call="mark", idempotent=None, context=context)
    job = build_job(run, "abcdefghijkl", queued_at=MOMENT, call="mark", context=context)
    template = cronjob["spec"]["jobTemplate"]
    for one in (job, template):
        pod = one["spec"]["template"]
        container = pod["spec"]["containers"][0]
        container["env"] = [variable for variable in container["env"] if variable["name"] != "SLIMFAAS_JOB_ID"]
        pod["metadata"]["labels"].pop("slimfaas-job-name", None)
    assert template["spec"] == job["spec"]
