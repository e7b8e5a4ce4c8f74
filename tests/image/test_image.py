"""The image's files, started as in a cluster: read-only, with a numeric user, as process 1."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from kubernetes import client

from tests.image.conftest import Image
from tests.image.container import Container
from tests.integration.dispatching import until
from tests.support.ports import find_free_port
from tests.support.servers import Server, write_kubeconfig

pytestmark = [
    pytest.mark.real_only("building the image takes a minute, so only `make e2e` does it"),
    pytest.mark.xdist_group("image"),
]

DEFINITIONS = {"Configurations": {"echo": {"Image": "busybox:1", "Args": ["true"], "Visibility": "Public"}}}
_SETTINGS = "/etc/cluster"

Run = Callable[..., Container]


@pytest.fixture
def run(image: Image, server: Server, namespace: str, tmp_path: Path) -> Run:
    """Provide a function that creates containers of the image, not started yet, which can reach the API server."""
    volume = tmp_path / "cluster"
    volume.mkdir(mode=0o755)
    (volume / "kubeconfig").write_text(write_kubeconfig(tmp_path, server, namespace).read_text().replace(
        str(server.ca_file), f"{_SETTINGS}/ca.crt"))  # fmt: skip
    if server.ca_file is not None:
        (volume / "ca.crt").write_bytes(server.ca_file.read_bytes())

    def make(*command: str, **environment: str) -> Container:
        settings = {
            "KUBECONFIG": f"{_SETTINGS}/kubeconfig",
            "SLIMFAAS_JOBS_CONFIGURATION": json.dumps(DEFINITIONS),
            "HOSTNAME": "slimfaas-0",
        }
        return Container(
            image.tree,
            image.stage,
            tmp_path / "container.log",
            command=command,
            environment=settings | environment,
            mounts={_SETTINGS: volume},
        )

    return make


def test_service__runs_a_job_from_the_image_alone_and_sigterm_releases_the_lease(
    run: Run, server: Server, namespace: str
) -> None:
    """It writes no file of the image, and runs as process 1 without root."""
    url = f"http://127.0.0.1:{(port := find_free_port())}"
    with run(PORT=str(port)) as container:
        container.await_ok(f"{url}/ready")
        accepted = requests.post(f"{url}/job/echo", timeout=20)
        assert accepted.status_code == 202
        location = url + accepted.headers["Location"]
        until(lambda: requests.get(location, timeout=20).json()["Status"] == "Succeeded")
        status = Path(f"/proc/{container.process_id}/status").read_text()
        assert "NSpid:\t" in status
        assert status.partition("NSpid:\t")[2].splitlines()[0].split("\t")[-1] == "1"
        assert status.partition("Uid:\t")[2].split()[0] != "0"
        assert container.terminate() == 0
    lease = client.CoordinationV1Api(server.admin).read_namespaced_lease("slimfaas-jobs-dispatcher", namespace)
    assert not lease.spec.holder_identity
    assert "Traceback" not in container.log_text


def test_dispatcher__runs_from_the_image_alone(run: Run, server: Server, namespace: str) -> None:
    """SIGTERM ends it with exit code 0."""
    with run("slimfaas-jobs", "dispatcher", PORT=str(find_free_port())) as container:
        leases = client.CoordinationV1Api(server.admin)
        until(lambda: leases.list_namespaced_lease(namespace).items)
        until(lambda: leases.list_namespaced_lease(namespace).items[0].spec.holder_identity)
        assert container.terminate() == 0


def test_invalid_configuration__is_reported_and_the_container_exits(run: Run) -> None:
    with run(SLIMFAAS_JOBS_CONFIGURATION='{"Configurations": {"a": {}}}', PORT="0") as container:
        assert container.wait() != 0
    assert "/Configurations/a/Image: required, but missing" in container.log_text


def files_of(tree: Path) -> list[Path]:
    return [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]


def test_image__has_no_build_tools_and_no_tests(image: Image) -> None:
    """Neither pip nor a compiler, which an intruder could use."""
    names = {path.name for path in files_of(image.tree)}
    assert not names & {"pip", "pip3", "gcc", "cc", "g++", "ld", "make", "easy_install"}
    assert not list(image.tree.rglob("site-packages/pip"))
    assert not list(image.tree.rglob("site-packages/setuptools"))
    assert not list(image.tree.glob("src"))
    assert not list(image.tree.glob("opt/**/conftest.py"))


def test_image__every_module_has_its_byte_code(image: Image) -> None:
    """The root file system is read-only, so missing byte code would be compiled at each start."""
    sources = [*image.tree.glob("opt/slimfaas-jobs/lib/**/*.py"), *image.tree.glob("usr/local/lib/python3*/**/*.py")]
    compiled = {path.with_suffix("").with_suffix("").name for path in image.tree.rglob("__pycache__/*.pyc")}
    assert len(sources) > 1000
    # lib2to3 and others ship samples that are not valid Python 3; nothing imports them.
    assert {path.stem for path in sources if "bad_" not in path.stem and "badsyntax" not in path.stem} <= compiled


def test_image__only_tmp_is_writable(image: Image) -> None:
    """Even if the root file system is not mounted read-only."""
    open_to_all = [
        path
        for path in image.tree.rglob("*")
        if not path.is_symlink() and path.stat().st_mode & stat.S_IWOTH and path.name != "tmp"
    ]
    assert open_to_all == []
    assert {path.stat().st_uid for path in files_of(image.tree)} == {os.getuid()}
