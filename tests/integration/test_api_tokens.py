"""ServiceAccounts' tokens on the embedded cluster: what a comparison with a real one can't show in its time."""

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


def grant(core: client.CoreV1Api, namespace: str = SPACE, **spec: Any) -> str:
    """A token of the namespace's default account."""
    answer = core.create_namespaced_service_account_token("default", namespace, {"spec": spec})
    token: str = answer.status.token
    return token


def judge(core: client.CoreV1Api, token: str, **spec: Any) -> Any:
    """The status of a TokenReview."""
    reviews = client.AuthenticationV1Api(core.api_client)
    return reviews.create_token_review({"spec": {"token": token, **spec}}).status


def account(cluster: Cluster) -> Any:
    """The default account, as it is stored."""
    return cluster.store.get(SERVICE_ACCOUNT, SPACE, "default")


def claims_of(token: str) -> Any:
    """What a token says, unverified."""
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def test_a_token_says_whose_it_is_and_for_whom(core: client.CoreV1Api) -> None:
    """With the claims that clients of Kubernetes read."""
    before = int(time.time())
    claims = claims_of(grant(core, audiences=["jobs"], expirationSeconds=900))
    assert claims["sub"] == "system:serviceaccount:default:default"
    assert claims["aud"] == ["jobs"]
    assert claims["iss"] == AUDIENCE
    assert claims["exp"] - claims["iat"] == 900
    assert before <= claims["iat"] == claims["nbf"] <= time.time()
    assert claims["kubernetes.io"]["serviceaccount"]["name"] == "default"


def test_a_token_is_good_up_to_a_minute_after_its_end(cluster: Cluster, core: client.CoreV1Api) -> None:
    """As kube-apiserver allows for clocks that differ; after that it says that it has expired."""
    late = cluster.tokens.issue(account(cluster), [AUDIENCE], time.time() - 630, 600)
    too_late = cluster.tokens.issue(account(cluster), [AUDIENCE], time.time() - 700, 600)
    assert judge(core, late).authenticated
    status = judge(core, too_late)
    assert not status.authenticated
    assert status.error == "[invalid bearer token, service account token has expired]"


def test_a_token_of_another_cluster_is_not_good(core: client.CoreV1Api) -> None:
    """Each cluster has a key of its own."""
    with Cluster() as other:
        foreign = grant(client.CoreV1Api(ApiClient(Configuration(host=other.url))))
    assert not judge(core, foreign).authenticated


def test_a_namespace_that_nobody_used_has_an_account(core: client.CoreV1Api) -> None:
    """Every well-formed namespace exists, and with it its default account."""
    token = grant(core, "never-used-before")
    assert judge(core, token).user.username == "system:serviceaccount:never-used-before:default"
    assert [found.metadata.name for found in core.list_namespaced_service_account("nor-this-one").items] == ["default"]


def test_the_default_account_comes_back_as_another_one(core: client.CoreV1Api) -> None:
    """Its tokens end with it."""
    token = grant(core, "renewed")
    core.delete_namespaced_service_account("default", "renewed")
    assert not judge(core, token).authenticated
    assert judge(core, grant(core, "renewed")).authenticated


def test_the_default_account_ends_with_its_namespace(core: client.CoreV1Api) -> None:
    """And does not come back alone."""
    token = grant(core, "ended")
    core.delete_namespace("ended")
    status = judge(core, token)
    assert status.error == '[invalid bearer token, serviceaccounts "default" not found]'


def test_discovery_tells_of_tokens(core: client.CoreV1Api) -> None:
    """`kubectl create token` and `kubectl auth` look there."""
    reviews = client.AuthenticationV1Api(core.api_client).get_api_resources().resources
    assert [(found.name, found.verbs) for found in reviews] == [("tokenreviews", ["create"])]
    tokens = [found for found in core.get_api_resources().resources if found.name == "serviceaccounts/token"]
    assert [(found.kind, found.group, found.verbs) for found in tokens] == [
        ("TokenRequest", "authentication.k8s.io", ["create"])
    ]
