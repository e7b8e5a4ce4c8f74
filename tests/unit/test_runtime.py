"""`app.runtime`: the parts of one process, put together."""

import json
import logging
from pathlib import Path

import pytest

from app.runtime import build_runtime
from app.settings import Settings

KUBECONFIG = {
    "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:9"}}],
    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    "users": [{"name": "a", "user": {}}],
    "current-context": "a",
}


@pytest.mark.parametrize("max_queued", [None, 10_000])
def test_start__logs_that_queues_have_no_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, max_queued: int | None
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(KUBECONFIG), "utf-8")
    settings = Settings(
        configuration='{"Configurations": {}}', kubeconfig=str(kubeconfig), dispatcher=False, max_queued=max_queued
    )
    runtime = build_runtime(settings)
    with caplog.at_level(logging.WARNING, "app.runtime"):
        runtime.start(serves=True)
    runtime.stop()
    expected = [] if max_queued else ["SLIMFAAS_MAX_QUEUED is 0: any number of runs may be queued"]
    assert [record.getMessage() for record in caplog.records if record.name == "app.runtime"] == expected
