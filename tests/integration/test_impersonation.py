"""What an API server makes of a kubeconfig's `as`."""

from pathlib import Path

import pytest
import yaml

from app.kube.credentials import connect
from app.kube.errors import ForbiddenError
from tests.support.servers import Server, write_kubeconfig


@pytest.mark.real_only("impersonation needs authorization")
def test_as__does_not_act_with_the_own_rights(server: Server, namespace: str, tmp_path: Path) -> None:
    """The account may list Jobs, but not impersonate."""
    path = write_kubeconfig(tmp_path, server, namespace)
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    assert connect(str(path), None).call("GET", jobs)["items"] == []

    document = yaml.safe_load(path.read_text("utf-8"))
    document["users"][0]["user"]["as"] = "jane"
    path.write_text(yaml.safe_dump(document), "utf-8")
    with pytest.raises(ForbiddenError, match="impersonate"):
        connect(str(path), None).call("GET", jobs)
