"""The manifests in the docs, and the demo's manifests."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.configuration import parse_configuration
from tests.support.kustomize import (
    INSTALLATIONS,
    K8S,
    WORKLOADS,
    Manifest,
    build,
    container,
    labels_of_a_run,
    named,
    needs_kubectl,
    of_kind,
    our_workloads,
    pod_labels,
    pod_spec,
)

pytestmark = needs_kubectl

ROOT = K8S.parent


def documents(page: str) -> list[Any]:
    """The YAML blocks of a page, parsed."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def with_patches(folder: Path, name: str, about: str) -> list[Manifest]:
    """The objects of an installation with the operations page's patches that contain a word."""
    (fields,) = [one for one in documents("operations.md") if one.keys() == {"patches"} and about in str(one)]
    shutil.copytree(K8S, folder / "k8s")
    resource = INSTALLATIONS[name].relative_to(ROOT).as_posix()
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [resource], **fields}), "utf-8")
    return build(folder)


@pytest.fixture
def shop(tmp_path: Path) -> list[Manifest]:
    """The objects of the operations page's overlay, written where that page puts it."""
    (overlay,) = [one for one in documents("operations.md") if one.get("kind") == "Kustomization"]
    copy = tmp_path / "k8s"
    shutil.copytree(K8S, copy)
    folder = copy / "overlays" / "shop"
    folder.mkdir()
    shutil.copy(copy / "overlays" / "production" / "configmap.yaml", folder)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay), "utf-8")
    return build(folder)


def test_demo__has_the_documented_manifests() -> None:
    """The parts of them that this service uses."""
    demo = build(INSTALLATIONS["demo"])
    seed = list(yaml.safe_load_all((ROOT / "tests/data/seed/slimfaas.yaml").read_text("utf-8")))
    assert named(demo, "Namespace", "slimfaas-demo")["metadata"]["labels"].items() >= {"name": "slimfaas"}.items()
    for kind, name in (("ConfigMap", "slimfaas-config"), ("StatefulSet", "slimfaas"), ("Service", "slimfaas")):
        ours, theirs = named(demo, kind, name), named(seed, kind, name)
        assert ours["metadata"]["namespace"] == theirs["metadata"]["namespace"]
        if kind == "StatefulSet":
            for field in ("replicas", "podManagementPolicy", "serviceName", "selector"):
                assert ours["spec"][field] == theirs["spec"][field]
            assert container(ours)["resources"] == container(theirs)["resources"]
            added = ["SLIMFAAS_PROBE_PORT", "SLIMFAAS_KEY_SECRET"]
            assert [variable["name"] for variable in container(ours)["env"][:2]] == added
            assert container(ours)["env"][2:] == container(theirs)["env"]
            # The documented probe, on the port that is added.
            probe, theirs_probe = container(ours)["livenessProbe"], container(theirs)["livenessProbe"]
            assert {**probe, "httpGet": {**probe["httpGet"], "port": 5000}}.items() <= theirs_probe.items()
            assert pod_spec(ours)["serviceAccountName"] == pod_spec(theirs)["serviceAccountName"]
    (seed_map, demo_map) = (named(objects, "ConfigMap", "slimfaas-config")["data"] for objects in (seed, demo))
    assert {key: json.loads(text) for key, text in demo_map.items()} == {
        key: json.loads(text) for key, text in seed_map.items()
    }
    definitions = json.loads(demo_map["SLIMFAAS_JOBS_CONFIGURATION"])["Configurations"].values()
    workloads = {one["metadata"]["name"] for one in of_kind(demo, *WORKLOADS)}
    assert {name for definition in definitions for name in definition["DependsOn"]} <= workloads


def test_documented_overlay__sets_namespace_image_callers_and_token_review(shop: list[Manifest]) -> None:
    assert {one["metadata"]["name"] for one in of_kind(shop, "Namespace")} == {"shop-jobs"}
    assert {container(one)["image"] for one in our_workloads(shop)} == {"registry.shop.example/slimfaas-jobs:0.2.0"}
    trusted = {"name": "SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS", "value": "shop:caller"}
    assert trusted in container(named(shop, "Deployment", "slimfaas"))["env"]
    (binding,) = of_kind(shop, "ClusterRoleBinding")
    assert [(one["name"], one["namespace"]) for one in binding["subjects"]] == [("slimfaas", "shop-jobs")]


def test_documented_caller__is_trusted_by_the_overlay(shop: list[Manifest]) -> None:
    """Its account, its token's audience and its URL match the overlay."""
    (pod,) = [one for one in documents("operations.md") if one.get("kind") == "Pod"]
    assert (pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"]) == ("shop", "caller")
    (volume,) = pod["spec"]["volumes"]
    (source,) = volume["projected"]["sources"]
    (caller,) = pod["spec"]["containers"]
    (mount,) = caller["volumeMounts"]
    assert source["serviceAccountToken"]["audience"] == "slimfaas-jobs"
    assert f"cat {mount['mountPath']}/{source['serviceAccountToken']['path']}" in caller["command"][-1]
    (service,) = of_kind(shop, "Service")
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    ((job),) = re.findall(rf"http://{name}\.shop-jobs:{port}/job/([a-z]+)", caller["command"][-1])
    configuration = named(shop, "ConfigMap", "slimfaas-config")["data"]["SLIMFAAS_JOBS_CONFIGURATION"]
    assert parse_configuration(configuration)[job].visibility == "Private"


def test_documented_overlay__works_without_the_namespace(tmp_path: Path) -> None:
    """For users who may not create one."""
    whole = build(INSTALLATIONS["production"])
    assert with_patches(tmp_path, "production", "delete") == [one for one in whole if one["kind"] != "Namespace"]


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_documented_patch__leaves_the_users_to_openshift(tmp_path: Path, name: str) -> None:
    """It removes those of the service, of whatever kind and number its workloads are, and nothing else."""
    expected = build(INSTALLATIONS[name])
    for workload in our_workloads(expected):
        for field in ("runAsUser", "runAsGroup"):
            del pod_spec(workload)["securityContext"][field]
    assert with_patches(tmp_path, name, "runAsUser") == expected


def test_documented_network_policy__selects_only_runs() -> None:
    (policy,) = [one for one in documents("security.md") if one.get("kind") == "NetworkPolicy"]
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert labels_of_a_run().items() >= labels.items()
    for folder in INSTALLATIONS.values():
        for workload in of_kind(build(folder), *WORKLOADS):
            assert not pod_labels(workload).items() >= labels.items()
