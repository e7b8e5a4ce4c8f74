"""`make demo`, as a person starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import DEADLINE_SECONDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.embedded_only("it starts its own embedded cluster")
def test_demo__works_behind_a_proxy_that_does_not_know_this_machine() -> None:
    """`HTTP_PROXY` alone, as many companies set it; nothing listens there."""
    ours = ("SLIMFAAS", "GUNICORN", "KUBECONFIG", "NO_PROXY", "no_proxy")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    ended = subprocess.run(
        [sys.executable, "-m", "devcluster.demo"],
        cwd=ROOT,
        env={**environment, **proxies},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "267914296" in ended.stdout
