"""The paths of the service's calls."""

import pytest

from app.kube.api_server import ApiServer
from app.kube.client import NamespacedClient
from app.kube.errors import NotFoundError
from app.kube.transport import ApiTransport


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_get_job__asks_for_nothing_by_a_name_that_leads_elsewhere(name: str) -> None:
    """A proxy or the API server would read such a path as another one. No call is made: nothing listens here."""
    client = NamespacedClient(ApiTransport(ApiServer("http://127.0.0.1:9"), "default"))
    with pytest.raises(NotFoundError):
        client.get_job(name)
    assert client.find_workloads(name) == []


def test_get_job__quotes_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays one segment of the path."""
    paths = []

    def call(_self: ApiTransport, _method: str, path: str, **_: object) -> dict[str, str]:
        paths.append(path)
        return {"kind": "Job"}

    monkeypatch.setattr(ApiTransport, "call", call)
    client = NamespacedClient(ApiTransport(ApiServer("http://127.0.0.1:9"), "default"))
    client.get_job("../a?b#c%2f")
    assert paths == ["/apis/batch/v1/namespaces/default/jobs/..%2Fa%3Fb%23c%252f"]
