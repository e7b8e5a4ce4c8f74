"""Behind real proxies, with the configuration that the docs show: their rules for paths and addresses hold."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from kubernetes import client

from tests.e2e.callers import Replica
from tests.http.clients import RawClient
from tests.support.ports import find_free_port
from tests.support.servers import Server
from tests.support.service import ServiceProcess
from tests.support.waiting import until

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs"
TRUSTED, STRANGER = "127.0.0.9", "127.0.0.8"
DEFINITIONS = {name: {"Image": "busybox:1", "DependsOn": ["nobody"]} for name in ("fibonacci", "other")}
"""Both are private."""

NGINX = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {rules}
    }}
}}
"""
HAPROXY = """\
defaults
    mode http
    timeout connect 10s
    timeout client 30s
    timeout server 30s
{rules}
backend slimfaas
    server slimfaas 127.0.0.1:{service_port}
"""

Proxy = Callable[[ServiceProcess, Path], AbstractContextManager[int]]

PERMITTED = [("/job/fibonacci", None), ("/job/fibonacci/a%20b?c=d", "a b"), ("/job/fibonacci//a", "/a")]
"""Targets that start a run, each with the path that the run gets."""

DOTS = ["..", "%2e%2e", ".%2e", "%2E.", "%252e%252e", "..;", "..;a=b", "..%3b", "%c0%ae%c0%ae", "%00/.."]
SEPARATORS = ["/", "%2f", "%252F", "\\", "%5c", "/./", "//"]
REFUSED = [
    *(f"/job/fibonacci/{dots}{separator}other" for dots in DOTS for separator in SEPARATORS),
    *(f"/job/other/{dots}{separator}fibonacci" for dots in DOTS for separator in SEPARATORS),
    *(f"/job/fibonacci{separator}..{separator}other" for separator in SEPARATORS),
    "/job/other",
    "/job/other/",
    "/job/other/fibonacci",
    "/job/other?/../fibonacci",
    "/job/other#/../fibonacci",
    "/job/other/..#/fibonacci",
    "/job/fibonacci#/../other",
    "/job/%6fther",
    "/job/other;/../fibonacci",
    "/job/other;fibonacci",
    "//job/other",
    "/job//other",
    "/./job/other",
    "/job/./other",
    "/JOB/other",
    "http://proxy/job/other",
    "http://proxy/job/other/../fibonacci",
    "http://other.example/job/fibonacci/../other",
    "/job/fibonacci2/../other",
    "/job/fibonacci\t/../other",
    "*",
]


def read_snippet(page: str, language: str) -> str:
    """Return the only code block of a language in a page of the docs."""
    (snippet,) = re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return str(snippet)


@contextmanager
def running(program: str, arguments: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a proxy until the end of the context."""
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    try:
        until(lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "proxy.log").read_text("utf-8")
        yield
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        RawClient(port).close()
    except OSError:
        return False
    return True


def find_program(name: str) -> str:
    """Return the path of a program; skips the test if it is not installed."""
    found = shutil.which(name, path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    if found is None:
        pytest.skip(f"{name} is not installed (`make proxies` installs it)")
    return found


@contextmanager
def nginx(service: ServiceProcess, folder: Path, page: str = "security.md") -> Iterator[int]:
    """Run nginx in front of a service; yields its port."""
    program, port = find_program("nginx"), find_free_port()
    rules = read_snippet(page, "nginx").replace("slimfaas:5000", f"127.0.0.1:{service.port}")
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, rules=rules), "utf-8")
    with running(program, ["-c", f"{folder}/nginx.conf", "-p", str(folder), "-e", "stderr"], folder, port):
        yield port


@contextmanager
def haproxy(service: ServiceProcess, folder: Path) -> Iterator[int]:
    """Run HAProxy in front of a service; yields its port."""
    program, port = find_program("haproxy"), find_free_port()
    rules = read_snippet("security.md", "haproxy").replace("bind :8080", f"bind 127.0.0.1:{port}")
    (folder / "haproxy.cfg").write_text(HAPROXY.format(rules=rules, service_port=service.port), "utf-8")
    with running(program, ["-db", "-f", f"{folder}/haproxy.cfg"], folder, port):
        yield port


def post(port: int, target: str, *headers: str, source: str = TRUSTED, body: bytes = b"") -> tuple[int, str]:
    """Send one POST with exactly this target; returns the status and the `Location`. 0: no response."""
    lines = [f"POST {target} HTTP/1.1", "Host: proxy", "Connection: close", *headers]
    if not any(line.lower().startswith("content-length") for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    with RawClient(port, source=source) as connection:
        try:
            response = connection.send("\r\n".join([*lines, "", ""]).encode("latin-1"), body).answer()
        except ConnectionError:
            return 0, ""
        return response.status, response.headers["Location"] or ""


@pytest.mark.parametrize("proxy", [nginx, haproxy], ids=["nginx", "haproxy"])
def test_proxy__that_permits_one_definition_is_not_passed(
    server: Server,
    namespace: str,
    replica: Replica,
    tmp_path: Path,
    proxy: Proxy,
) -> None:
    """Whoever is trusted by address stays so behind the proxy, and nobody else becomes so."""
    settings = {
        "SLIMFAAS_TRUSTED_PROXIES": "127.0.0.1/32",
        "SLIMFAAS_TRUSTED_NETWORKS": f"{TRUSTED}/32",
        "SLIMFAAS_DISPATCHER": "off",
    }
    batch = client.BatchV1Api(server.admin)
    with replica(DEFINITIONS, **settings) as service, proxy(service, tmp_path) as port:
        for target, path in PERMITTED:
            status, location = post(port, target)
            assert (status, location.rpartition("/")[0]) == (202, "/job/fibonacci"), (target, status)
            job = batch.read_namespaced_job(f"fibonacci-slimfaas-job-{location[-12:]}", namespace)
            variables = {one.name: one.value for one in job.spec.template.spec.containers[0].env}
            assert variables.get("SLIMFAAS_JOB_PATH") == path
        passed = {target: answer for target in REFUSED if (answer := post(port, target))[0] not in (0, 400, 403, 404)}
        assert passed == {}

        assert post(port, "/job/fibonacci", source=STRANGER)[0] == 403
        for name in ("X-Forwarded-For", "X-Real-IP", "X_Forwarded_For", "x-forwarded-for"):
            assert post(port, "/job/fibonacci", f"{name}: {TRUSTED}", source=STRANGER)[0] == 403, name
        assert post(port, "/job/fibonacci", f"Forwarded: for={TRUSTED}", source=STRANGER)[0] == 403
        hidden = ("Connection: X-Forwarded-For", f"X-Forwarded-For: {TRUSTED}")
        assert post(port, "/job/fibonacci", *hidden, source=STRANGER)[0] == 403

        own, foreign = "Origin: http://proxy", "Origin: https://evil.example"
        assert post(port, "/job/fibonacci", own)[0] == 202
        for headers in (
            [foreign],
            ["Sec-Fetch-Site: cross-site"],
            [own, foreign],
            [foreign, "X-Forwarded-Host: evil.example"],
        ):
            assert post(port, "/job/fibonacci", *headers)[0] in (400, 403), headers
        prefixed = post(port, "/job/fibonacci", "X-Forwarded-Prefix: /evil")
        assert (prefixed[0], prefixed[1].rpartition("/")[0]) == (202, "/job/fibonacci")

        smuggled = b"0\r\n\r\nPOST /job/other HTTP/1.1\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n"
        for coding in ("chunked", "chunked, identity", "xchunked", " chunked", "Chunked", "chunked\x0b"):
            post(
                port,
                "/job/fibonacci",
                f"Transfer-Encoding: {coding}",
                f"Content-Length: {len(smuggled)}",
                body=smuggled,
            )
        names = {job.metadata.name.partition("-")[0] for job in batch.list_namespaced_job(namespace).items}
        assert names == {"fibonacci"}


def test_nginx__that_removes_a_prefix_gets_urls_with_it(replica: Replica, tmp_path: Path) -> None:
    definitions = {"public": {**DEFINITIONS["other"], "Visibility": "Public"}}
    with (
        replica(definitions, SLIMFAAS_PATH_PREFIX="/batch", SLIMFAAS_DISPATCHER="off") as service,
        nginx(service, tmp_path, "http.md") as port,
    ):
        status, location = post(port, "/batch/job/public/a%25b")
        assert (status, location.rpartition("/")[0]) == (202, "/batch/job/public")
        with RawClient(port) as connection:
            assert connection.send_request("GET", location).answer().status == 200
        assert post(port, "/job/public")[0] == 404
