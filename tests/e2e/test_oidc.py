"""Users of an OpenID Connect provider, as the API server knows them by structured authentication, in RBAC mode.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from werkzeug.test import TestResponse

from app.factory import create_app
from app.settings import Settings
from tests.controlplane.plane import ControlPlane
from tests.http.clients import UNTRUSTED_CLIENT, check_problem
from tests.support.oidc import Issuer, serve_issuer
from tests.support.servers import AUTH_DELEGATOR, Server, connect_to, delegated, write_kubeconfig
from tests.support.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_only("the embedded cluster has no users but ServiceAccounts"),
    pytest.mark.xdist_group("oidc"),  # all in one xdist worker, so that they share one control plane
]

CLIENT_ID = "slimfaas"
DEFINITIONS = {"fibonacci": {"Image": "busybox:1", "DependsOn": ["nobody"]}, "other": {"Image": "busybox:1"}}


@dataclass(frozen=True)
class Users:
    """A service in a cluster that trusts an issuer."""

    issuer: Issuer
    client: Any

    def call(self, method: str, path: str, token: str) -> TestResponse:
        """Send a request with a token."""
        headers = {"Authorization": f"Bearer {token}"}
        response: TestResponse = self.client.open(path, method=method, headers=headers, environ_base=UNTRUSTED_CLIENT)
        return response


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    """`oidc:jane` and the group `oidc:starters` may start fibonacci."""
    folder = tmp_path_factory.mktemp("oidc")
    with serve_issuer(folder) as issuer:
        configuration = {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [
                {
                    "issuer": {
                        "url": issuer.url,
                        "audiences": [CLIENT_ID],
                        "certificateAuthority": issuer.authority,
                    },
                    "claimMappings": {
                        "username": {"claim": "sub", "prefix": "oidc:"},
                        "groups": {"claim": "groups", "prefix": "oidc:"},
                    },
                }
            ],
        }
        with ControlPlane(authentication=configuration) as plane:
            server = connect_to(str(plane.admin_kubeconfig))
            namespace = server.create_namespace()
            with delegated(server, namespace):
                bind_roles(server, namespace)
                yield Users(issuer, start_service(server, namespace, folder))


def bind_roles(server: Server, namespace: str) -> None:
    rights: Any = client.RbacAuthorizationV1Api(server.admin)
    start, *_ = yaml.safe_load_all(AUTH_DELEGATOR.with_name("example-roles.yaml").read_text("utf-8"))
    rights.create_namespaced_role(namespace, start)
    group = "rbac.authorization.k8s.io"
    subjects = [
        {"kind": "User", "name": "oidc:jane", "apiGroup": group},
        {"kind": "Group", "name": "oidc:starters", "apiGroup": group},
    ]
    reference = {"kind": "Role", "name": start["metadata"]["name"], "apiGroup": group}
    binding = {"metadata": {"name": "starters"}, "roleRef": reference, "subjects": subjects}
    rights.create_namespaced_role_binding(namespace, binding)


def start_service(server: Server, namespace: str, folder: Path) -> Any:
    settings = Settings(
        configuration=json.dumps({"Configurations": DEFINITIONS}),
        kubeconfig=str(write_kubeconfig(folder, server, namespace)),
        dispatcher=False,
        authorization="rbac",
    )
    return create_app(settings).test_client()


def test_user__starts_runs_by_its_name_or_its_group(users: Users) -> None:
    """The API server fetches the issuer's keys when it has started, so the first tokens may come too early."""
    jane = users.issuer.token("jane", CLIENT_ID)
    until(lambda: users.call("POST", "/job/fibonacci", jane).status_code == 202)
    john = users.issuer.token("john", CLIENT_ID, groups=["starters"])
    runs = [users.call("POST", "/job/fibonacci", token) for token in (jane, john)]
    assert [run.status_code for run in runs] == [202, 202]
    shown = [users.call("GET", run.headers["Location"], token) for run, token in zip(runs, (jane, john), strict=True)]
    assert [(one.json or {})["StartedBy"] for one in shown] == ["oidc:jane", "oidc:john"]
    assert users.call("GET", runs[0].headers["Location"], john).status_code == 404
    check_problem(users.call("POST", "/job/other", jane), 403)
    check_problem(users.call("POST", "/job/fibonacci", users.issuer.token("john", CLIENT_ID)), 403)


def test_user__can_not_pose_as_a_user_of_the_cluster(users: Users) -> None:
    """The prefix keeps names of the provider apart; characters that break lines are escaped."""
    until(lambda: users.call("POST", "/job/fibonacci", users.issuer.token("jane", CLIENT_ID)).status_code == 202)
    for subject, groups in (("admin", ["system:masters"]), ("system:serviceaccount:default:default", [])):
        check_problem(users.call("POST", "/job/fibonacci", users.issuer.token(subject, CLIENT_ID, groups=groups)), 403)
    odd = users.issuer.token("x\nPOST status=200 user=admin", CLIENT_ID, groups=["starters"])
    location = users.call("POST", "/job/fibonacci", odd).headers["Location"]
    started_by = (users.call("GET", location, odd).json or {})["StartedBy"]
    assert started_by == r"oidc:x\u{a}POST\u{20}status=200\u{20}user=admin"


def test_user_with_many_groups__is_reviewed_with_all_of_them(users: Users) -> None:
    """The longest header that gunicorn accepts has 8 KiB."""
    until(lambda: users.call("POST", "/job/fibonacci", users.issuer.token("jane", CLIENT_ID)).status_code == 202)
    groups = [f"group-{number:03}" for number in range(300)]
    token = users.issuer.token("jack", CLIENT_ID, groups=[*groups, "starters"])
    assert len(token) < 8000
    assert users.call("POST", "/job/fibonacci", token).status_code == 202


def test_token__of_another_client_or_issuer_or_time_gets_401(users: Users, tmp_path: Path) -> None:
    until(lambda: users.call("POST", "/job/fibonacci", users.issuer.token("jane", CLIENT_ID)).status_code == 202)
    good = users.issuer.token("jane", CLIENT_ID)
    with serve_issuer(tmp_path) as other:
        tokens = {
            "another client": users.issuer.token("jane", "other"),
            "the service's audience, not a client": users.issuer.token("jane", "slimfaas-jobs"),
            "another issuer": other.token("jane", CLIENT_ID),
            "another issuer's signature": other.token("jane", CLIENT_ID, iss=users.issuer.url),
            "expired": users.issuer.token("jane", CLIENT_ID, seconds=-10),
            "no signature": good.rpartition(".")[0] + ".",
            "another user": ".".join(
                (good.split(".")[0], users.issuer.token("x", CLIENT_ID).split(".")[1], good.split(".")[2])
            ),
        }
        for name, token in tokens.items():
            assert users.call("POST", "/job/fibonacci", token).status_code == 401, name
