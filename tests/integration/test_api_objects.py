"""Objects over HTTP, through the official client: create, read, change, delete, and every refusal."""

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
    """A log source in which every container has said one line."""

    def read(self, pod: dict[str, Any], options: LogOptions) -> Iterator[bytes]:
        """One line, or the real refusal for a container that hasn't started."""
        if options.container == "waiting":
            name = pod["metadata"]["name"]
            raise bad_request(f'container "waiting" in pod "{name}" is waiting to start: ContainerCreating')
        yield f"hello from {options.container}, last {options.tail_lines}\n".encode()


@pytest.fixture(scope="module")
def server():
    """An API server without controllers: nothing changes but what a test changes."""
    running = ApiServer(Store(), OneLine())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def api(server):
    """The official client, one connection pool."""
    with kubernetes.ApiClient(kubernetes.Configuration(host=server.url)) as client:
        yield client


@pytest.fixture
def batch(api):
    """The client's Job API."""
    return kubernetes.BatchV1Api(api)


@pytest.fixture
def core(api):
    """The client's core API."""
    return kubernetes.CoreV1Api(api)


@pytest.fixture
def namespace(request):
    """A namespace of the test's own."""
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
    """One request without a client library: (status, decoded body, headers)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, data, {"Content-Type": "application/json", **names})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text.startswith(b"{") else text, answer.headers


def refused(call, *args, **kwargs):
    """The Status of a refusal, as the official client hands it on."""
    with pytest.raises(kubernetes.ApiException) as caught:
        call(*args, **kwargs)
    status = json.loads(caught.value.body)
    assert status["kind"] == "Status"
    assert status["code"] == caught.value.status
    return status


def test_a_job_is_stored_and_read_back(batch, namespace):
    """What was created is what is read: the same uid, revision and defaults."""
    created = batch.create_namespaced_job(namespace, manifest())
    read = batch.read_namespaced_job("one", namespace)
    assert read.to_dict() == created.to_dict()
    assert (read.spec.backoff_limit, read.spec.suspend) == (6, True)


def test_a_missing_object_is_not_found(batch, namespace):
    """404 names the resource and the object."""
    status = refused(batch.read_namespaced_job, "nobody", namespace)
    assert (status["code"], status["reason"], status["message"]) == (404, "NotFound", 'jobs.batch "nobody" not found')
    assert status["details"] == {"name": "nobody", "group": "batch", "kind": "jobs"}


def test_creating_twice_is_already_exists(batch, namespace):
    """The second create of a name changes nothing and says so."""
    batch.create_namespaced_job(namespace, manifest())
    status = refused(batch.create_namespaced_job, namespace, manifest())
    assert (status["code"], status["reason"]) == (409, "AlreadyExists")


def test_an_invalid_job_is_refused_with_every_cause(batch, namespace):
    """422 lists each wrong field."""
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
def test_a_job_is_admitted_with_a_patch(batch, namespace, patch, kind):
    """Each patch format that the client sends changes what it says and raises the generation."""
    batch.create_namespaced_job(namespace, manifest())
    patched = batch.patch_namespaced_job("one", namespace, patch)
    assert (patched.spec.suspend, patched.metadata.generation) == (False, 2)


def test_a_patch_with_a_stale_version_conflicts(batch, namespace):
    """A patch that carries a resourceVersion is an optimistic lock: of two admissions, one wins."""
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


def test_a_put_replaces_and_checks_name_namespace_and_version(batch, namespace):
    """A PUT is for the object of its path, in the state that its sender read."""
    job = batch.create_namespaced_job(namespace, manifest())
    job.spec.parallelism = 2
    replaced = batch.replace_namespaced_job("one", namespace, job)
    assert replaced.spec.parallelism == 2
    assert refused(batch.replace_namespaced_job, "one", namespace, job)["reason"] == "Conflict"
    replaced.metadata.name = "two"
    status = refused(batch.replace_namespaced_job, "one", namespace, replaced)
    assert status["message"] == "the name of the object (two) does not match the name on the URL (one)"


def test_the_template_of_an_admitted_job_is_fixed(batch, namespace):
    """422, the field is immutable."""
    batch.create_namespaced_job(namespace, manifest(suspend=False))
    patch = {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}}
    status = refused(batch.patch_namespaced_job, "one", namespace, patch)
    assert [cause["field"] for cause in status["details"]["causes"]] == ["spec.template"]
    assert status["message"].endswith("field is immutable")


def test_dry_run_answers_and_stores_nothing(batch, namespace):
    """dryRun=All validates a create, a patch and a delete without doing them."""
    batch.create_namespaced_job(namespace, manifest(), dry_run="All")
    assert refused(batch.read_namespaced_job, "one", namespace)["code"] == 404
    batch.create_namespaced_job(namespace, manifest())
    batch.patch_namespaced_job("one", namespace, {"spec": {"suspend": False}}, dry_run="All")
    batch.delete_namespaced_job("one", namespace, propagation_policy="Background", dry_run="All")
    assert batch.read_namespaced_job("one", namespace).spec.suspend is True
    assert refused(batch.create_namespaced_job, namespace, manifest("two"), dry_run="Some")["reason"] == "Invalid"


def test_deleting_answers_with_a_status_that_names_the_object(server, batch, namespace):
    """A Job that goes at once leaves a Status with its uid; without a policy a warning tells of the orphans."""
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


def test_deleting_a_collection_takes_what_its_selector_takes(batch, namespace):
    """Deletecollection leaves the others."""
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        job = manifest(name)
        job["metadata"]["labels"] = {"group": label}
        batch.create_namespaced_job(namespace, job)
    batch.delete_collection_namespaced_job(namespace, label_selector="group=x", propagation_policy="Background")
    assert [job.metadata.name for job in batch.list_namespaced_job(namespace).items] == ["c"]


def test_the_status_subresource_takes_the_status_alone(batch, namespace):
    """A controller's PATCH on /status leaves the spec, a client's on the Job leaves the status."""
    batch.create_namespaced_job(namespace, manifest())
    patch = {"status": {"startTime": "2026-01-01T00:00:00Z", "active": 1}, "spec": {"parallelism": 5}}
    reported = batch.patch_namespaced_job_status("one", namespace, patch)
    assert (reported.status.active, reported.spec.parallelism) == (1, 1)
    changed = batch.patch_namespaced_job("one", namespace, {"status": {"active": 9}, "spec": {"parallelism": 5}})
    assert (changed.status.active, changed.spec.parallelism) == (1, 5)


def test_the_scale_subresource_takes_the_replicas_alone(api, namespace):
    """What `kubectl scale` needs: the count, under the workload's own resourceVersion."""
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


def test_unknown_fields_are_dropped_warned_of_or_refused(server, namespace):
    """FieldValidation decides; the default is a warning per field."""
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
def test_a_body_that_cannot_be_a_job_is_a_bad_request(server, namespace, body, message):
    """400 with the server's words for what is wrong with the body."""
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
def test_paths_and_methods_that_are_not_served(server, method, path, status, reason):
    """404 and 405 are Status objects, too."""
    code, answer, _ = raw(server, method, path, manifest())
    assert (code, answer["reason"]) == (status, reason)


def test_outside_of_the_api_there_is_no_page(server):
    """As from a real server, in plain text."""
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
def test_web_pages_can_start_nothing(server, batch, namespace, headers, status):
    """A page has an origin of its own, or came under a name that its DNS points here: neither gets in."""
    code, answer, _ = raw(server, "POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", manifest(), **headers)
    assert code == status
    if status == 403:
        assert answer["reason"] == "Forbidden"
        assert batch.list_namespaced_job(namespace).items == []


def test_content_types_that_are_not_served(server, namespace):
    """415 for a body, 406 for an answer."""
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    assert raw(server, "POST", path, manifest(), Content_Type="text/plain")[1]["reason"] == "UnsupportedMediaType"
    assert raw(server, "PATCH", f"{path}/one", {}, Content_Type="application/json")[0] == 415
    assert raw(server, "GET", path, Accept="text/xml")[1]["reason"] == "NotAcceptable"
    assert raw(server, "GET", path, Accept="application/vnd.kubernetes.protobuf")[0] == 200


def test_a_body_over_the_limit_is_too_large(server, namespace):
    """413 at three mebibytes."""
    body = b'{"metadata":{"name":"a"},"data":{"a":"' + b"x" * 3 * 1024 * 1024 + b'"}}'
    status, answer, _ = raw(server, "POST", f"/api/v1/namespaces/{namespace}/configmaps", body)
    assert (status, answer["reason"]) == (413, "RequestEntityTooLarge")


def test_a_lease_is_created_by_put_and_renewed_only_with_its_version(api, namespace):
    """The verbs that leader election uses, with MicroTimes kept exactly."""
    leases = kubernetes.CoordinationV1Api(api)
    body = {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000123Z"}}
    lease = leases.replace_namespaced_lease("leader", namespace, body)
    assert lease.spec.renew_time.microsecond == 123
    assert refused(leases.replace_namespaced_lease, "leader", namespace, body)["code"] == 422
    lease.spec.holder_identity = "b"
    assert leases.replace_namespaced_lease("leader", namespace, lease).spec.holder_identity == "b"
    assert refused(leases.replace_namespaced_lease, "leader", namespace, lease)["reason"] == "Conflict"


def test_any_namespace_exists_and_is_listed_once_used(core, batch, namespace):
    """GET of a namespace finds it; one with an ill-formed name isn't found."""
    assert core.read_namespace(namespace).status.phase == "Active"
    assert namespace in {one.metadata.name for one in core.list_namespace().items}
    assert refused(core.read_namespace, "Not_One")["code"] == 404
    assert refused(batch.create_namespaced_job, "Not_One", manifest())["message"] == 'namespaces "Not_One" not found'


def test_a_pods_log_is_streamed_with_its_options(core, namespace):
    """The log's parameters reach the node, its refusals reach the client."""
    containers = [{"name": name, "image": "busybox:1"} for name in ("main", "waiting")]
    spec = {"nodeName": "laptop", "containers": containers}
    core.create_namespaced_pod(namespace, {"metadata": {"name": "one"}, "spec": spec})
    log = core.read_namespaced_pod_log("one", namespace, container="main", tail_lines=5, _preload_content=False)
    assert log.data == b"hello from main, last 5\n"
    status = refused(core.read_namespaced_pod_log, "one", namespace, container="waiting")
    assert status["message"] == 'container "waiting" in pod "one" is waiting to start: ContainerCreating'
    assert refused(core.read_namespaced_pod_log, "nobody", namespace)["code"] == 404


def test_one_connection_carries_many_requests(server, namespace):
    """Keep-alive survives answers of every kind, errors and bodies included."""
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


def test_concurrent_creates_all_arrive(server, batch, namespace):
    """Sixteen clients at once lose nothing and double nothing."""

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


def test_requests_are_counted_by_verb_and_resource(server, batch, namespace):
    """The counters tell what a client's design costs."""
    before = server.requests_served["create", "jobs"], server.requests_served["patch", "jobs/status"]
    batch.create_namespaced_job(namespace, manifest())
    batch.patch_namespaced_job_status("one", namespace, {"status": {"ready": 0}})
    after = server.requests_served["create", "jobs"], server.requests_served["patch", "jobs/status"]
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)
