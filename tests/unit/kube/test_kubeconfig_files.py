"""How the files of `KUBECONFIG` are merged."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.kube.credentials import ClusterSettingsError, connect
from app.kube.kubeconfig_files import KubeconfigError, read_context

SECRET = "s3cr3t-t0k3n"


def write(folder: Path, name: str, **values: Any) -> str:
    path = folder / name / "config"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(values))
    return str(path)


def cluster(name: str, server: str) -> dict[str, Any]:
    return {"name": name, "cluster": {"server": server}}


def context(name: str, **values: str) -> dict[str, Any]:
    return {"name": name, "context": values}


def user(name: str, token: str = SECRET) -> dict[str, Any]:
    return {"name": name, "user": {"token": token}}


def test_read_context__takes_the_first_of_each_name(tmp_path: Path) -> None:
    """As kubectl does: the first file's current context, and of entries with equal names the first."""
    first = write(
        tmp_path,
        "first",
        **{
            "current-context": "main",
            "clusters": [cluster("c", "https://first")],
            "contexts": [context("main", cluster="c", user="u", namespace="jobs")],
        },
    )
    second = write(
        tmp_path,
        "second",
        **{
            "current-context": "other",
            "clusters": [cluster("c", "https://second")],
            "contexts": [context("other", cluster="c"), context("main", cluster="x")],
            "users": [user("u")],
        },
    )
    found = read_context(f"{first}::{tmp_path / 'missing'}:{second}")
    assert (found.cluster.values["server"], found.cluster.folder) == ("https://first", tmp_path / "first")
    assert (found.user.values["token"], found.user.folder) == (SECRET, tmp_path / "second")
    assert found.namespace == "jobs"


def test_read_context__needs_no_user(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a",
        **{"current-context": "x", "clusters": [cluster("c", "http://a")], "contexts": [context("x", cluster="c")]},
    )
    assert read_context(path).user.values == {}


def test_read_context__finds_an_empty_user(tmp_path: Path) -> None:
    """A user without credentials has an empty entry."""
    path = write(
        tmp_path,
        "a",
        **{
            "current-context": "x",
            "clusters": [cluster("c", "http://a")],
            "contexts": [context("x", cluster="c", user="u")],
            "users": [{"name": "u", "user": None}],
        },
    )
    assert read_context(path).user.values == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "it has no current-context"),
        ({"current-context": "x"}, "there is no context x"),
        ({"current-context": "x", "contexts": [context("x")]}, "the context x names no cluster"),
        (
            {"current-context": "x", "contexts": [context("x", cluster="c")], "users": [user("u")]},
            "there is no cluster c",
        ),
        (
            {
                "current-context": "x",
                "clusters": [cluster("c", "http://a")],
                "contexts": [context("x", cluster="c", user="v")],
                "users": [user("u")],
            },
            "there is no user v",
        ),
    ],
)
def test_read_context__names_what_is_missing(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    path = write(tmp_path, "a", **values)
    with pytest.raises(KubeconfigError) as refused:
        read_context(path)
    assert str(refused.value) == message
    with pytest.raises(ClusterSettingsError, match=message) as stopped:
        connect(path, None)
    assert SECRET not in str(stopped.value)


@pytest.mark.parametrize(
    "text", ["[1]", "a: [", "text", f"users: [{{token: {SECRET}}}]\ncurrent-context: x\ncontexts: 7"]
)
def test_connect__refuses_a_file_of_another_kind_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ClusterSettingsError) as stopped:
        connect(str(path), None)
    assert "\n" not in str(stopped.value)
    assert SECRET not in str(stopped.value)


def test_connect__names_a_missing_or_empty_file(tmp_path: Path) -> None:
    with pytest.raises(ClusterSettingsError, match="the file does not exist"):
        connect(str(tmp_path / "missing"), None)
    (tmp_path / "empty").write_text("")
    with pytest.raises(ClusterSettingsError, match="is empty"):
        connect(str(tmp_path / "empty"), None)


def test_connect__without_a_kubeconfig_needs_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT"):
        monkeypatch.delenv(f"KUBERNETES_SERVICE_{name}", raising=False)
    with pytest.raises(ClusterSettingsError, match="KUBERNETES_SERVICE_HOST"):
        connect(None, None)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ClusterSettingsError, match="token cannot be read"):
        connect(None, None)
