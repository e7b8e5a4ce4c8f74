"""ServiceAccount tokens of the embedded cluster: what tests/parity cannot compare with a real cluster in its time."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client import ApiClient, Configuration

from devcluster.cluster import Cluster
from devcluster.kinds import SERVICE_ACCOUNT
from devcluster.tokens import AUDIENCE
from tests.integration.apis import OF_THE_EMBEDDED_CLUSTER

pytestmark = OF_THE_EMBEDDED_CLUSTER

SPACE = "default"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture(scope="module")
def core(cluster: Cluster) -> client.CoreV1Api:
    return client.CoreV1Api(ApiClient(Configuration(host=cluster.url)))


def request_token(core: client.CoreV1Api, namespace: str = SPACE, **spec: Any) -> str:
    """Return a token of the namespace's default account."""
    answer = core.create_namespaced_service_account_token("default", namespace, {"spec": spec})
    token: str = answer.status.token
    return token


def review(core: client.CoreV1Api, token: str, **spec: Any) -> Any:
    """Return the status of a TokenReview."""
    reviews = client.AuthenticationV1Api(core.api_client)
    return reviews.create_token_review({"spec": {"token": token, **spec}}).status


def account(cluster: Cluster) -> Any:
    """Return the stored default account."""
    return cluster.store.get(SERVICE_ACCOUNT, SPACE, "default")


def claims_of(token: str) -> Any:
    """Return the claims of a token, unverified."""
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def test_token__has_the_claims_of_kubernetes(core: client.CoreV1Api) -> None:
    before = int(time.time())
    claims = claims_of(request_token(core, audiences=["jobs"], expirationSeconds=900))
    assert claims["sub"] == "system:serviceaccount:default:default"
    assert claims["aud"] == ["jobs"]
    assert claims["iss"] == AUDIENCE
    assert claims["exp"] - claims["iat"] == 900
    assert before <= claims["iat"] == claims["nbf"] <= time.time()
    assert claims["kubernetes.io"]["serviceaccount"]["name"] == "default"


def test_token__is_valid_until_a_minute_after_its_expiry(cluster: Cluster, core: client.CoreV1Api) -> None:
    """kube-apiserver tolerates this clock skew; afterwards the error says that the token has expired."""
    late = cluster.tokens.issue(account(cluster), [AUDIENCE], time.time() - 630, 600)
    too_late = cluster.tokens.issue(account(cluster), [AUDIENCE], time.time() - 700, 600)
    assert review(core, late).authenticated
    status = review(core, too_late)
    assert not status.authenticated
    assert status.error == "[invalid bearer token, service account token has expired]"


def test_token__of_another_cluster_is_invalid(core: client.CoreV1Api) -> None:
    """Each cluster has its own key."""
    with Cluster() as other:
        foreign = request_token(client.CoreV1Api(ApiClient(Configuration(host=other.url))))
    assert not review(core, foreign).authenticated


def test_default_account__exists_in_an_unused_namespace(core: client.CoreV1Api) -> None:
    token = request_token(core, "never-used-before")
    assert review(core, token).user.username == "system:serviceaccount:never-used-before:default"
    assert [found.metadata.name for found in core.list_namespaced_service_account("nor-this-one").items] == ["default"]


def test_default_account__is_recreated_with_another_uid(core: client.CoreV1Api) -> None:
    """Tokens of the old one become invalid."""
    token = request_token(core, "renewed")
    core.delete_namespaced_service_account("default", "renewed")
    assert not review(core, token).authenticated
    assert review(core, request_token(core, "renewed")).authenticated


def test_default_account__is_deleted_with_its_namespace(core: client.CoreV1Api) -> None:
    """It is not recreated alone."""
    token = request_token(core, "ended")
    core.delete_namespace("ended")
    status = review(core, token)
    assert status.error == '[invalid bearer token, serviceaccounts "default" not found]'


def test_discovery__lists_the_token_resources(core: client.CoreV1Api) -> None:
    """`kubectl create token` and `kubectl auth` need them."""
    reviews = client.AuthenticationV1Api(core.api_client).get_api_resources().resources
    assert [(found.name, found.verbs) for found in reviews] == [("tokenreviews", ["create"])]
    tokens = [found for found in core.get_api_resources().resources if found.name == "serviceaccounts/token"]
    assert [(found.kind, found.group, found.verbs) for found in tokens] == [
        ("TokenRequest", "authentication.k8s.io", ["create"])
    ]
