"""Objects over HTTP, through the official client: create, read, update, delete, and every error."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import kubernetes.client as kubernetes
import pytest

from devcluster.errors import bad_request
from devcluster.http import ApiServer
from devcluster.http.logs import LogOptions
from devcluster.store import Store
from tests.integration.apis import OF_THE_EMBEDDED_CLUSTER
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = OF_THE_EMBEDDED_CLUSTER


class OneLine:
    """A log source with one line for each container."""

    def read(self, pod: dict[str, Any], options: LogOptions) -> Iterator[bytes]:
        """Yield one line; raise the API server's error for a container that has not started."""
        if options.container == "waiting":
            name = pod["metadata"]["name"]
            raise bad_request(f'container "waiting" in pod "{name}" is waiting to start: ContainerCreating')
        yield f"hello from {options.container}, last {options.tail_lines}\n".encode()


@pytest.fixture(scope="module")
def server():
    """Start an API server without controllers, so that only the tests change objects."""
    running = ApiServer(Store(), OneLine())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def api(server):
    """Return the official client, with one connection pool."""
    with kubernetes.ApiClient(kubernetes.Configuration(host=server.url)) as client:
        yield client


@pytest.fixture
def batch(api):
    """Return the client's Job API."""
    return kubernetes.BatchV1Api(api)


@pytest.fixture
def core(api):
    """Return the client's core API."""
    return kubernetes.CoreV1Api(api)


@pytest.fixture
def namespace(request):
    """Return a namespace for this test."""
    return f"t{abs(hash(request.node.nodeid)):x}"


def manifest(name="one", **spec):
    container = {"name": "main", "image": "busybox:1", "args": ["true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"suspend": True, "template": template, **spec},
    }


def raw(server, method, path, body=None, **headers):
    """Send one request without a client library; return (status, decoded body, headers)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, data, {"Content-Type": "application/json", **names})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text.startswith(b"{") else text, answer.headers


def refused(call, *args, **kwargs):
    """Return the Status of a refusal, as the official client reports it."""
    with pytest.raises(kubernetes.ApiException) as caught:
        call(*args, **kwargs)
    status = json.loads(caught.value.body)
    assert status["kind"] == "Status"
    assert status["code"] == caught.value.status
    return status


def test_create_job__returns_what_a_get_returns(batch, namespace):
    """The same uid, revision and defaults."""
    created = batch.create_namespaced_job(namespace, manifest())
    read = batch.read_namespaced_job("one", namespace)
    assert read.to_dict() == created.to_dict()
    assert (read.spec.backoff_limit, read.spec.suspend) == (6, True)


def test_get__of_a_missing_object_is_404(batch, namespace):
    """The message names the resource and the object."""
    status = refused(batch.read_namespaced_job, "nobody", namespace)
    assert (status["code"], status["reason"], status["message"]) == (404, "NotFound", 'jobs.batch "nobody" not found')
    assert status["details"] == {"name": "nobody", "group": "batch", "kind": "jobs"}


def test_create__twice_is_already_exists(batch, namespace):
    batch.create_namespaced_job(namespace, manifest())
    status = refused(batch.create_namespaced_job, namespace, manifest())
    assert (status["code"], status["reason"]) == (409, "AlreadyExists")


def test_create_job__lists_every_cause_when_invalid(batch, namespace):
    broken = manifest(backoffLimit=-1)
    broken["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    status = refused(batch.create_namespaced_job, namespace, broken)
    assert (status["code"], status["reason"], status["details"]["kind"]) == (422, "Invalid", "Job")
    fields = {cause["field"] for cause in status["details"]["causes"]}
    assert fields == {"spec.backoffLimit", "spec.template.spec.restartPolicy"}
    assert 'Job.batch "one" is invalid: [' in status["message"]


@pytest.mark.parametrize(
    ("patch", "kind"),
    [
        ({"spec": {"suspend": False}}, "merge"),
        ([{"op": "test", "path": "/spec/suspend", "value": True}, {"op": "replace", "path": "/spec/suspend",
                                                                  "value": False}], "JSON"),
    ],
)  # fmt: skip
def test_patch__supports_each_format_and_raises_the_generation(batch, namespace, patch, kind):
    """Each format unsuspends a Job."""
    batch.create_namespaced_job(namespace, manifest())
    patched = batch.patch_namespaced_job("one", namespace, patch)
    assert (patched.spec.suspend, patched.metadata.generation) == (False, 2)


def test_patch__with_a_stale_version_conflicts(batch, namespace):
    """A patch with a resourceVersion is an optimistic lock: of two concurrent patches, one succeeds."""
    created = batch.create_namespaced_job(namespace, manifest())
    version = created.metadata.resource_version
    admission = {"metadata": {"resourceVersion": version}, "spec": {"suspend": False}}
    batch.patch_namespaced_job("one", namespace, admission)
    status = refused(batch.patch_namespaced_job, "one", namespace, admission)
    assert (status["code"], status["reason"]) == (409, "Conflict")
    assert status["message"] == (
        'Operation cannot be fulfilled on jobs.batch "one": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


def test_put__checks_name_namespace_and_version(batch, namespace):
    job = batch.create_namespaced_job(namespace, manifest())
    job.spec.parallelism = 2
    replaced = batch.replace_namespaced_job("one", namespace, job)
    assert replaced.spec.parallelism == 2
    assert refused(batch.replace_namespaced_job, "one", namespace, job)["reason"] == "Conflict"
    replaced.metadata.name = "two"
    status = refused(batch.replace_namespaced_job, "one", namespace, replaced)
    assert status["message"] == "the name of the object (two) does not match the name on the URL (one)"


def test_patch__of_an_unsuspended_jobs_template_is_refused(batch, namespace):
    """422, the field is immutable."""
    batch.create_namespaced_job(namespace, manifest(suspend=False))
    patch = {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}}
    status = refused(batch.patch_namespaced_job, "one", namespace, patch)
    assert [cause["field"] for cause in status["details"]["causes"]] == ["spec.template"]
    assert status["message"].endswith("field is immutable")


def test_dry_run__responds_and_stores_nothing(batch, namespace):
    """For create, patch and delete."""
    batch.create_namespaced_job(namespace, manifest(), dry_run="All")
    assert refused(batch.read_namespaced_job, "one", namespace)["code"] == 404
    batch.create_namespaced_job(namespace, manifest())
    batch.patch_namespaced_job("one", namespace, {"spec": {"suspend": False}}, dry_run="All")
    batch.delete_namespaced_job("one", namespace, propagation_policy="Background", dry_run="All")
    assert batch.read_namespaced_job("one", namespace).spec.suspend is True
    assert refused(batch.create_namespaced_job, namespace, manifest("two"), dry_run="Some")["reason"] == "Invalid"


def test_delete__returns_a_status_with_the_uid(server, batch, namespace):
    """Without a propagation policy, a warning reports the orphaned pods."""
    created = batch.create_namespaced_job(namespace, manifest())
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs/one"
    status, answer, _ = raw(server, "DELETE", path, {"propagationPolicy": "Background"})
    assert (status, answer["status"]) == (200, "Success")
    details = {"name": "one", "group": "batch", "kind": "jobs", "uid": created.metadata.uid}
    assert answer["details"] == details
    batch.create_namespaced_job(namespace, manifest())
    _, held, headers = raw(server, "DELETE", path)
    assert held["metadata"]["finalizers"] == ["orphan"]
    assert "child pods are preserved by default" in headers["Warning"]


def test_delete_collection__deletes_only_selected_objects(batch, namespace):
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        job = manifest(name)
        job["metadata"]["labels"] = {"group": label}
        batch.create_namespaced_job(namespace, job)
    batch.delete_collection_namespaced_job(namespace, label_selector="group=x", propagation_policy="Background")
    assert [job.metadata.name for job in batch.list_namespaced_job(namespace).items] == ["c"]


def test_patch_status__changes_only_the_status(batch, namespace):
    """And a patch of the Job leaves the status unchanged."""
    batch.create_namespaced_job(namespace, manifest())
    patch = {"status": {"startTime": "2026-01-01T00:00:00Z", "active": 1}, "spec": {"parallelism": 5}}
    reported = batch.patch_namespaced_job_status("one", namespace, patch)
    assert (reported.status.active, reported.spec.parallelism) == (1, 1)
    changed = batch.patch_namespaced_job("one", namespace, {"status": {"active": 9}, "spec": {"parallelism": 5}})
    assert (changed.status.active, changed.spec.parallelism) == (1, 5)


def test_scale__changes_only_the_replicas(api, namespace):
    """As `kubectl scale` does, under the workload's own resourceVersion."""
    apps = kubernetes.AppsV1Api(api)
    labels = {"app": "web", "tier": "x"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "busybox:1"}]}}
    terms = [{"key": "tier", "operator": "In", "values": ["y", "x"]}, {"key": "old", "operator": "DoesNotExist"}]
    selector = {"matchLabels": {"app": "web"}, "matchExpressions": terms}
    apps.create_namespaced_deployment(
        namespace, {"metadata": {"name": "web"}, "spec": {"selector": selector, "template": pod}}
    )
    scale = apps.read_namespaced_deployment_scale("web", namespace)
    assert (scale.spec.replicas, scale.status.selector) == (1, "app=web,!old,tier in (x,y)")
    scale.spec.replicas = 3
    assert apps.replace_namespaced_deployment_scale("web", namespace, scale).spec.replicas == 3
    assert refused(apps.replace_namespaced_deployment_scale, "web", namespace, scale)["reason"] == "Conflict"
    deployment = apps.read_namespaced_deployment("web", namespace)
    assert (deployment.spec.replicas, deployment.metadata.generation) == (3, 2)


def test_unknown_fields__are_dropped_reported_or_refused(server, namespace):
    """As fieldValidation says; the default is one warning per field."""
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    odd = manifest(sparkle=True)
    status, job, headers = raw(server, "POST", path, odd)
    assert (status, headers.get_all("Warning")) == (201, ['299 - "unknown field \\"spec.sparkle\\""'])
    assert "sparkle" not in job["spec"]
    status, answer, _ = raw(server, "POST", f"{path}?fieldValidation=Strict", odd)
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert answer["message"].endswith('strict decoding error: unknown field "spec.sparkle"')
    _, _, headers = raw(server, "POST", f"{path}?fieldValidation=Ignore&dryRun=All", {**odd, "metadata": {"name": "b"}})
    assert "Warning" not in headers


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"xyz", "invalid character 'x' looking for beginning of value (78797a)"),
        (b"", "unexpected end of JSON input (<empty>)"),
        (b"[" * 20_000, "exceeded max depth"),
        (b"[]", "cannot unmarshal array"),
        ({**manifest(), "kind": "Sparkle"}, 'no kind "Sparkle" is registered for version "batch/v1"'),
        ({**manifest(), "kind": "Pod", "apiVersion": "v1"}, "converting (v1.Pod) to (batch.Job): unknown conversion"),
        (
            {**manifest(), "metadata": {"name": "one", "namespace": "other"}},
            "the namespace of the provided object does not",
        ),
        (
            manifest(parallelism="1"),
            "cannot unmarshal string into Go struct field JobSpec.spec.parallelism of type int32",
        ),
    ],
)
def test_create_job__is_bad_request_for_other_bodies(server, namespace, body, message):
    """400 with the server's message."""
    status, answer, _ = raw(server, "POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", body)
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert message in answer["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/apis/batch/v1/namespaces/x/sparkles", 404, "NotFound"),
        ("GET", "/apis/batch/v1/namespaces/x/jobs/one/sparkle", 404, "NotFound"),
        ("PUT", "/apis/batch/v1/namespaces/x/jobs", 405, "MethodNotAllowed"),
        ("POST", "/apis/batch/v1/jobs", 405, "MethodNotAllowed"),
        ("DELETE", "/apis/batch/v1/jobs", 405, "MethodNotAllowed"),
        ("DELETE", "/apis/batch/v1/namespaces/x/jobs/one/status", 405, "MethodNotAllowed"),
    ],
)
def test_request__unserved_path_or_method_is_a_status(server, method, path, status, reason):
    """404 and 405 are Status objects as well."""
    code, answer, _ = raw(server, method, path, manifest())
    assert (code, answer["reason"]) == (status, reason)


def test_request__outside_of_the_api_is_404_in_plain_text(server):
    status, text, headers = raw(server, "GET", "/apis/sparkle.dev/v1/things")
    assert (status, text, headers["Content-Type"]) == (404, b"404 page not found\n", "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8080"}, 201),
        ({"Host": "127.0.0.1"}, 201),
        ({"Host": "[::1]:8080"}, 201),
        ({"Host": "0.0.0.0:8080"}, 201),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8080"}, 201),
        ({"Host": "attacker.example:8080"}, 403),
        ({"Host": "127.0.0.1.attacker.example"}, 403),
        ({"Host": "localhost.attacker.example"}, 403),
        ({"Host": "192.0.2.1"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:8080", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "localhost:8080", "Origin": "https://localhost:8080"}, 403),
    ],
)
def test_origin__refuses_web_pages(server, batch, namespace, headers, status):
    """Whether the page has another origin, or a host name whose DNS record points here."""
    code, answer, _ = raw(server, "POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", manifest(), **headers)
    assert code == status
    if status == 403:
        assert answer["reason"] == "Forbidden"
        assert batch.list_namespaced_job(namespace).items == []


def test_media_types__refuses_unsupported_ones(server, namespace):
    """415 for a body, 406 for a response."""
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    assert raw(server, "POST", path, manifest(), Content_Type="text/plain")[1]["reason"] == "UnsupportedMediaType"
    assert raw(server, "PATCH", f"{path}/one", {}, Content_Type="application/json")[0] == 415
    assert raw(server, "GET", path, Accept="text/xml")[1]["reason"] == "NotAcceptable"
    assert raw(server, "GET", path, Accept="application/vnd.kubernetes.protobuf")[0] == 200


def test_body__over_the_limit_is_413(server, namespace):
    """The limit is three mebibytes."""
    body = b'{"metadata":{"name":"a"},"data":{"a":"' + b"x" * 3 * 1024 * 1024 + b'"}}'
    status, answer, _ = raw(server, "POST", f"/api/v1/namespaces/{namespace}/configmaps", body)
    assert (status, answer["reason"]) == (413, "RequestEntityTooLarge")


def test_lease__put_creates_and_renews_only_with_the_version(api, namespace):
    """As in leader election; MicroTimes are kept exactly."""
    leases = kubernetes.CoordinationV1Api(api)
    body = {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000123Z"}}
    lease = leases.replace_namespaced_lease("leader", namespace, body)
    assert lease.spec.renew_time.microsecond == 123
    assert refused(leases.replace_namespaced_lease, "leader", namespace, body)["code"] == 422
    lease.spec.holder_identity = "b"
    assert leases.replace_namespaced_lease("leader", namespace, lease).spec.holder_identity == "b"
    assert refused(leases.replace_namespaced_lease, "leader", namespace, lease)["reason"] == "Conflict"


def test_namespace__exists_on_demand_and_is_listed_once_used(core, batch, namespace):
    """An invalid name is not found."""
    assert core.read_namespace(namespace).status.phase == "Active"
    assert namespace in {one.metadata.name for one in core.list_namespace().items}
    assert refused(core.read_namespace, "Not_One")["code"] == 404
    assert refused(batch.create_namespaced_job, "Not_One", manifest())["message"] == 'namespaces "Not_One" not found'


def test_log__passes_options_to_the_node_and_errors_to_the_client(core, namespace):
    containers = [{"name": name, "image": "busybox:1"} for name in ("main", "waiting")]
    spec = {"nodeName": "laptop", "containers": containers}
    core.create_namespaced_pod(namespace, {"metadata": {"name": "one"}, "spec": spec})
    log = core.read_namespaced_pod_log("one", namespace, container="main", tail_lines=5, _preload_content=False)
    assert log.data == b"hello from main, last 5\n"
    status = refused(core.read_namespaced_pod_log, "one", namespace, container="waiting")
    assert status["message"] == 'container "waiting" in pod "one" is waiting to start: ContainerCreating'
    assert refused(core.read_namespaced_pod_log, "nobody", namespace)["code"] == 404


def test_connection__is_kept_alive_after_any_response(server, namespace):
    """Errors and bodies included."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)
    connection.connect()
    socket = connection.sock
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    for method, target, body, status in (
        ("POST", path, json.dumps(manifest()), 201),
        ("POST", path, "xyz", 400),
        ("GET", f"{path}/nobody", None, 404),
        ("PATCH", f"{path}/one", "{}", 415),
        ("GET", f"{path}?watch=true&timeoutSeconds=1", None, 200),
        ("DELETE", f"{path}/one", None, 200),
    ):
        connection.request(method, target, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        assert connection.sock is socket
    connection.close()


def test_create__by_concurrent_clients_loses_and_doubles_nothing(server, batch, namespace):
    """Sixteen clients."""

    def create(client):
        for number in range(10):
            raw(server, "POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", manifest(f"j{client}-{number}"))

    threads = [threading.Thread(target=create, args=(client,)) for client in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs = batch.list_namespaced_job(namespace).items
    assert len({job.metadata.uid for job in jobs}) == len(jobs) == 160


def test_requests_served__counts_by_verb_and_resource(server, batch, namespace):
    before = server.requests_served["create", "jobs"], server.requests_served["patch", "jobs/status"]
    batch.create_namespaced_job(namespace, manifest())
    batch.patch_namespaced_job_status("one", namespace, {"status": {"ready": 0}})
    after = server.requests_served["create", "jobs"], server.requests_served["patch", "jobs/status"]
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)
