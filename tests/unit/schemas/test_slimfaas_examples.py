"""SlimFaas' own examples: what works as written, and what `validate` says of the rest."""

import json
from pathlib import Path

import yaml

from app.kube.parsing import read_workload
from schemas.configuration import parse_configuration
from schemas.definition import Variable
from schemas.manifests import find_configurations
from schemas.merge import merge
from schemas.slimfaas_differences import find_differences
from schemas.warnings import find_warnings
from tests.unit.schemas.parsing import parse_request

DEMO = (Path(__file__).parents[2] / "data" / "slimfaas" / "demo.yaml").read_text("utf-8")

SERIALIZED = {
    "Configurations": {
        "Report": {
            "Image": "team/report:1",
            "ImagesWhitelist": [],
            "Resources": None,
            "DependsOn": None,
            "Environments": [
                {
                    "Name": "TOKEN",
                    "Value": "",
                    "SecretRef": {"Name": "api", "Key": "token"},
                },
                {
                    "Name": "CPU",
                    "Value": "",
                    "ResourceFieldRef": {"ContainerName": "report", "Resource": "limits.cpu", "Divisor": "1m"},
                },
            ],
            "BackoffLimit": 1,
            "Visibility": "Private",
            "NumberParallelJob": 1,
            "TtlSecondsAfterFinished": 60,
            "RestartPolicy": "Never",
        }
    },
    "Schedules": None,
}
"""All keys of SlimFaas' records, as a program writes them."""


def test_demo__works_as_written() -> None:
    (found,) = find_configurations(DEMO)
    definitions = parse_configuration(found.document)
    definition = definitions["fibonacci"]
    assert definition.environments[1] == Variable("SLIMFAAS_FUNCTION_NAME", "fibonacci-batch-ws")
    (schedule,) = definition.schedules
    assert (schedule.cron, schedule.time_zone) == ("0 0 * * *", "Etc/UTC")
    assert merge(definition, schedule.request).args == ("42", "43")
    assert find_warnings(definitions) == []
    assert [fault.pointer for fault in find_differences(definitions)] == ["/Configurations/fibonacci/Visibility"]


DOCUMENTED = """
{
  "Configurations": {
    "fibonacci": {
      "Image": "axaguildev/fibonacci-batch:latest",
      "ImagesWhitelist": [],
      "Resources": {
        "Requests": {"cpu": "400m", "memory": "400Mi"},
        "Limits": {"cpu": "400m", "memory": "400Mi"}
      },
      "DependsOn": ["fibonacci1"],
      "Environments": [],
      "BackoffLimit": 1,
      "Visibility": "Public",
      "NumberParallelJob": 2,
      "TtlSecondsAfterFinished": 36000,
      "RestartPolicy": "Never"
    }
  },
  "Schedules": {
      "fibonacci": [
        {
          "Schedule": "0 0 * * *",
          "Args": ["42"]
        },
        {
          "Schedule": "0 0 * * 0",
          "Args": ["42"],
          "DependsOn": ["fibonacci2"]
        }
      ]
    }
}
"""
"""The example of SlimFaas' documentation, docs/jobs.md, without its comments and a trailing comma."""


def test_documented_schedules__work_as_written() -> None:
    definition = parse_configuration(DOCUMENTED)["fibonacci"]
    runs = [merge(definition, schedule.request) for schedule in definition.schedules]
    assert [schedule.cron for schedule in definition.schedules] == ["0 0 * * *", "0 0 * * 0"]
    assert [(run.args, run.depends_on) for run in runs] == [(("42",), ("fibonacci1",)), (("42",), ("fibonacci2",))]


def test_demo__has_the_minimum_of_its_function_on_the_pod_template() -> None:
    (deployment,) = [one for one in yaml.safe_load_all(DEMO) if one["kind"] == "Deployment"]
    deployment["metadata"]["resourceVersion"] = "1"
    assert read_workload("Deployment", deployment).replicas_min == "0"


def test_configuration_of_a_program__works_as_written() -> None:
    definition = parse_configuration(json.dumps(SERIALIZED))["report"]
    assert definition.environments == (
        Variable("TOKEN", source={"secretKeyRef": {"name": "api", "key": "token"}}),
        Variable("CPU", source={"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}),
    )


def test_request_of_a_program__works_as_written() -> None:
    """All keys of SlimFaas' record, with its defaults."""
    definition = parse_configuration(json.dumps(SERIALIZED))["report"]
    body = {
        "Args": ["42"],
        "Image": "",
        "BackoffLimit": 1,
        "TtlSecondsAfterFinished": 60,
        "RestartPolicy": "Never",
        "Resources": None,
        "Environments": None,
        "DependsOn": None,
    }
    assert merge(definition, parse_request(json.dumps(body).encode())).image == "team/report:1"
