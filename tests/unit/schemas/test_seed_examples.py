"""The documented examples that users copy work as written."""

import json
from pathlib import Path

import pytest

from schemas.configuration import parse_configuration
from schemas.definition import Definition, Variable
from schemas.faults import Fault, Refused
from schemas.manifests import find_configurations
from schemas.merge import RunSpec, merge
from schemas.request import Request
from schemas.security import SecurityContext
from tests.unit.schemas.parsing import parse_request

SEED = Path(__file__).parents[2] / "data" / "seed"


def read(name: str) -> str:
    return (SEED / name).read_text("utf-8")


def documented() -> Definition:
    return parse_configuration(read("configuration.json"))["fibonacci"]


FIBONACCI = Definition(
    name="fibonacci",
    image="axaguildev/fibonacci-batch:latest",
    images_whitelist=("axaguildev/fibonacci-batch:*",),
    requests={"cpu": "400m", "memory": "400Mi"},
    limits={"cpu": "400m", "memory": "400Mi"},
    depends_on=("fibonacci1",),
    environments=(),
    backoff_limit=1,
    visibility="Public",
    number_parallel_job=2,
    ttl_seconds_after_finished=36000,
    restart_policy="Never",
)


def test_parse_configuration__reads_every_field_of_the_documented_example() -> None:
    assert documented() == FIBONACCI


def test_parse_configuration__reads_the_documented_config_map() -> None:
    (found,) = find_configurations(read("slimfaas.yaml"))

    (definition,) = parse_configuration(found.document).values()

    assert found.place == "ConfigMap slimfaas-demo/slimfaas-config, SLIMFAAS_JOBS_CONFIGURATION"
    assert definition.images_whitelist == ()
    assert definition.depends_on == FIBONACCI.depends_on
    assert definition.limits == FIBONACCI.limits


def test_merge__runs_the_documented_definition_without_a_body() -> None:
    assert parse_request(b"") == Request()
    assert merge(documented(), parse_request(b"")) == RunSpec(
        definition="fibonacci",
        image="axaguildev/fibonacci-batch:latest",
        command=None,
        args=None,
        literal_args=False,
        requests={"cpu": "400m", "memory": "400Mi"},
        limits={"cpu": "400m", "memory": "400Mi"},
        depends_on=("fibonacci1",),
        environments=(),
        backoff_limit=1,
        timeout_seconds=None,
        pending_timeout_seconds=None,
        queue_timeout_seconds=None,
        ttl_seconds_after_finished=36000,
        restart_policy="Never",
        visibility="Public",
        service_account_name=None,
        security_context=SecurityContext(),
    )


def test_merge__applies_the_first_documented_body() -> None:
    run = merge(documented(), parse_request(read("request-args.json").encode()))

    assert run.args == ("42", "43")
    assert run.literal_args
    assert run.image == FIBONACCI.image
    assert run.depends_on == FIBONACCI.depends_on


def test_merge__applies_the_second_documented_body() -> None:
    """Image, args, dependencies, resources, retries, clean-up and restart policy."""
    assert merge(documented(), parse_request(read("request-full.json").encode())) == RunSpec(
        definition="fibonacci",
        image="axaguildev/fibonacci-batch:1.0.1",
        command=None,
        args=("42", "43"),
        literal_args=True,
        requests={"cpu": "200m", "memory": "200Mi"},
        limits={"cpu": "200m", "memory": "200Mi"},
        depends_on=("fibonacci2",),
        environments=(),
        backoff_limit=1,
        timeout_seconds=None,
        pending_timeout_seconds=None,
        queue_timeout_seconds=None,
        ttl_seconds_after_finished=100,
        restart_policy="Never",
        visibility="Public",
        service_account_name=None,
        security_context=SecurityContext(),
    )


def test_merge__refuses_the_second_documented_body_without_a_whitelist() -> None:
    document = json.loads(read("configuration.json"))
    document["Configurations"]["fibonacci"]["ImagesWhitelist"] = []
    strict = parse_configuration(json.dumps(document))["fibonacci"]

    with pytest.raises(Refused) as refused:
        merge(strict, parse_request(read("request-full.json").encode()))

    assert refused.value.faults == (Fault("/Image", "not an image that this definition allows"),)


def test_environments__accept_the_documented_lower_case_keys() -> None:
    """In a configuration and in a request."""
    environments = json.loads(read("environments.json"))
    document = json.loads(read("configuration.json"))
    document["Configurations"]["fibonacci"]["Environments"] = environments

    definition = parse_configuration(json.dumps(document))["fibonacci"]
    request = parse_request(json.dumps({"Environments": environments}).encode())

    assert definition.environments == (Variable("MY_ENV", "someValue"),)
    assert request.environments == (Variable("MY_ENV", "someValue", literal=True),)


def test_parse_configuration__accepts_the_documented_visibility() -> None:
    entry = {"Image": "busybox", **json.loads(read("visibility.json"))}

    definition = parse_configuration(json.dumps({"Configurations": {"open": entry}}))["open"]

    assert definition.visibility == "Public"
