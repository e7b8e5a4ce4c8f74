"""The control plane's harness with any program; these tests need no control plane, and are fast."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.controlplane.build import ControlPlaneUnavailable, find_programs
from tests.controlplane.components import Component, Reaper

DEADLINE_SECONDS = 10.0
PROGRAMS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that the reaper may remove."""
    folder = tmp_path / "plane"
    folder.mkdir()
    return folder


@pytest.fixture
def reaper(folder: Path) -> Iterator[Reaper]:
    reaper = Reaper(folder)
    yield reaper
    reaper.close()


@pytest.fixture
def component(folder: Path, reaper: Reaper) -> Iterator[Component]:
    """Return a Python process that prints `ready` and sleeps."""
    script = "import time; print('ready', flush=True); time.sleep(60)"
    component = Component(Path(sys.executable), ["-c", script], folder / "log", reaper)
    component.start()
    wait_until(lambda: "ready" in component.log_end())
    yield component
    component.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state(pid: int) -> str:
    """Return the process's state in /proc: `S` sleeps, `T` is stopped, `Z` is a zombie; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return ""


@pytest.mark.parametrize("end", [Component.stop, Component.kill])
def test_component__can_be_started_again(component: Component, end: Callable[[Component], None]) -> None:
    """After a stop or kill it has ended, and starts again as another process."""
    first = component.pid
    end(component)
    assert state(first) == ""
    component.start()
    assert component.pid != first


def test_component__can_be_resumed_or_stopped_when_paused(component: Component) -> None:
    component.pause()
    wait_until(lambda: state(component.pid) == "T")
    component.resume()
    wait_until(lambda: state(component.pid) == "S")
    component.pause()
    started = time.monotonic()
    component.stop()
    assert time.monotonic() - started < DEADLINE_SECONDS


def test_component__error_has_the_end_of_its_log(folder: Path, reaper: Reaper) -> None:
    """When the program has ended by itself."""
    component = Component(Path(sys.executable), ["-c", "raise SystemExit('no such port')"], folder / "log", reaper)
    component.check()
    component.start()
    with pytest.raises(RuntimeError, match="is not running; its log ends:\nno such port"):
        wait_until(lambda: component.pid < 0)
    component.stop()


def test_reaper__ends_programs_when_their_owner_is_killed(tmp_path: Path) -> None:
    """And removes the folder."""
    folder = tmp_path / "plane"
    folder.mkdir()
    script = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from tests.controlplane.components import Component, Reaper
        folder = Path({str(folder)!r})
        component = Component(Path(sys.executable), ["-c", "import time; time.sleep(60)"], folder / "log",
                              Reaper(folder))
        component.start()
        print(component.pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert state(pid) not in {"", "Z"}
        owner.kill()
        assert owner.wait() == -signal.SIGKILL
    wait_until(lambda: state(pid) in {"", "Z"} and not folder.exists())


def test_find_programs__prefers_kubebuilder_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all programs there, nothing is built, and Go is not needed."""
    for name in PROGRAMS:
        (tmp_path / name).touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert find_programs() == {name: tmp_path / name for name in PROGRAMS}


def test_find_programs__one_line_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names both ways to get a control plane."""
    (tmp_path / "etcd").touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ControlPlaneUnavailable, match=r"^no control plane: .*Go.*KUBEBUILDER_ASSETS[^\n]*$"):
        find_programs()
