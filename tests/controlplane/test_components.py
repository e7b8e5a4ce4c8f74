"""What the control plane's harness promises of any program: these need no control plane, and are quick."""

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
from tests.controlplane.components import Component, Warden

DEADLINE_SECONDS = 10.0
PROGRAMS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that the warden may remove."""
    folder = tmp_path / "plane"
    folder.mkdir()
    return folder


@pytest.fixture
def warden(folder: Path) -> Iterator[Warden]:
    warden = Warden(folder)
    yield warden
    warden.close()


@pytest.fixture
def component(folder: Path, warden: Warden) -> Iterator[Component]:
    """A Python that prints `ready` and sleeps."""
    script = "import time; print('ready', flush=True); time.sleep(60)"
    component = Component(Path(sys.executable), ["-c", script], folder / "log", warden)
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
    """The process's letter in /proc: `S` sleeps, `T` is stopped, `Z` has ended; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return ""


@pytest.mark.parametrize("end", [Component.stop, Component.kill])
def test_component_can_be_started_again(component: Component, end: Callable[[Component], None]) -> None:
    """Stopped or killed it has ended on return, and it can be started again as another process."""
    first = component.pid
    end(component)
    assert state(first) == ""
    component.start()
    assert component.pid != first


def test_paused_component_can_be_resumed_or_stopped(component: Component) -> None:
    """A paused program stands still, a resumed one goes on, and one that is paused can still be stopped."""
    component.pause()
    wait_until(lambda: state(component.pid) == "T")
    component.resume()
    wait_until(lambda: state(component.pid) == "S")
    component.pause()
    started = time.monotonic()
    component.stop()
    assert time.monotonic() - started < DEADLINE_SECONDS


def test_component_that_ends_by_itself_says_why(folder: Path, warden: Warden) -> None:
    """The error names the program and carries what it last wrote."""
    component = Component(Path(sys.executable), ["-c", "raise SystemExit('no such port')"], folder / "log", warden)
    component.check()
    component.start()
    with pytest.raises(RuntimeError, match="isn't running; its log ends:\nno such port"):
        wait_until(lambda: component.pid < 0)
    component.stop()


def test_nothing_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    """When the owner is killed with no chance to clean up, its programs end and its folder goes."""
    folder = tmp_path / "plane"
    folder.mkdir()
    script = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from tests.controlplane.components import Component, Warden
        folder = Path({str(folder)!r})
        component = Component(Path(sys.executable), ["-c", "import time; time.sleep(60)"], folder / "log",
                              Warden(folder))
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


def test_programs_of_kubebuilder_assets_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all of them in that folder nothing is built, and Go isn't needed."""
    for name in PROGRAMS:
        (tmp_path / name).touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert find_programs() == {name: tmp_path / name for name in PROGRAMS}


def test_without_go_and_programs_one_line_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names both ways to have a control plane."""
    (tmp_path / "etcd").touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ControlPlaneUnavailable, match=r"^no control plane: .*Go.*KUBEBUILDER_ASSETS[^\n]*$"):
        find_programs()
