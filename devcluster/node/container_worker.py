"""One container on the node: finding its image, running its process, restarting and ending it."""

import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from devcluster.controllers.backoff import BackOff
from devcluster.controllers.cache import Cache
from devcluster.controllers.loop import Loop, Timer
from devcluster.controllers.recorder import Recorder
from devcluster.kinds import POD
from devcluster.node.container import Container, Ended, Waiting
from devcluster.node.environment import ConfigError, Host, Invocation, resolve
from devcluster.node.images import FollowedTable, ImageTable, is_reference
from devcluster.node.logs import Logs
from devcluster.node.probes import Prober
from devcluster.node.processes import Processes
from devcluster.objects import Object

_PULL_SECONDS = 1.0  # the longest time from the first failed pull to ImagePullBackOff
_MESSAGE_BYTES = 4096
_START_ERROR_CODE = 128


@dataclass(frozen=True)
class Runtime:
    """The shared dependencies of all containers on the node."""

    loop: Loop
    cache: Cache
    recorder: Recorder
    processes: Processes
    probes: ThreadPoolExecutor
    images: ImageTable | FollowedTable
    logs: Logs
    folder: Path  # of the containers' working directories
    host: Host
    back_off: BackOff  # between the restarts of a container


class ContainerWorker:
    """Runs one container; `on_change` is called after each change of its state. Only for the loop's thread."""

    def __init__(
        self, runtime: Runtime, pod: Object, spec: Object, on_change: Callable[[], None], *, is_init: bool = False
    ) -> None:
        waits_for_others = bool(pod["spec"].get("initContainers"))
        self.state = Container(spec, is_init, Waiting("PodInitializing" if waits_for_others else "ContainerCreating"))
        self.pod = pod  # its last known state
        self._runtime = runtime
        self._on_change = on_change
        self._uid: str = pod["metadata"]["uid"]
        self._variables: dict[str, str] = {}
        self.was_begun = False
        self._prober: Prober | None = None
        self._failed_startups = 0  # consecutive failures of the startup probe
        self._timer: Timer | None = None  # for the next start, or for the kill
        self._is_shutting_down = False  # it is not started again
        self._is_stopping = False  # it has been signalled

    def start(self) -> None:
        """Start the first or next run."""
        self._timer = None
        self.was_begun = True
        image: str = self.state.spec["image"]
        entrypoint = self._runtime.images.entrypoint(image)
        if entrypoint is None:
            self._report_missing_image(image)
            return
        try:
            invocation = resolve(self.pod, self.state.spec, entrypoint, self._runtime.cache.find, self._runtime.host)
        except ConfigError as error:
            self._wait("CreateContainerConfigError", str(error))
            self._warn("Failed", f"Error: {error}")
            return
        if not invocation.argv:
            self._wait("CreateContainerError", "no command specified")
            self._warn("Failed", "Error: no command specified")
            return
        self._launch(invocation)

    def retry(self) -> None:
        """Try again if the container waits for a missing ConfigMap or Secret."""
        if (
            self.state.waiting
            and self.state.waiting.reason == "CreateContainerConfigError"
            and not self._is_shutting_down
        ):
            self.start()

    def begin_shutdown(self) -> None:
        """Start no further run."""
        if self._timer and not self.state.is_live():
            self._timer.cancel()
        self._is_shutting_down = True

    def stop(self, grace_seconds: float) -> None:
        """End the container for good: signal its processes, and kill them after the grace period.

        May be called again.
        """
        self.begin_shutdown()
        if self._timer:
            self._timer.cancel()
        if self.state.is_live():
            self._timer = self._runtime.loop.after(grace_seconds, self._signal, signal.SIGKILL)
            if not self._is_stopping:
                self._signal(signal.SIGTERM)
                message = f"Stopping container {self.state.name}"
                self._runtime.recorder.normal(POD, self.pod, "Killing", message, self._field_path)
        self._is_stopping = True

    def kill(self) -> None:
        """Kill the container at once."""
        self.stop(0)
        self._signal(signal.SIGKILL)

    def on_started(self, at: float) -> None:
        """Record that the program runs."""
        state = self.state
        state.last, state.ended, state.waiting = state.ended or state.last, None, None
        state.started_at, state.is_launching = at, False
        self._runtime.recorder.normal(POD, self.pod, "Created", "Container created", self._field_path)
        self._runtime.recorder.normal(POD, self.pod, "Started", "Container started", self._field_path)
        if state.spec.get("startupProbe"):
            self._failed_startups = 0
            self._probe("startupProbe", self._on_startup_probed)
        else:
            self._begin_service()
        self._on_change()

    def on_refused(self, error: str, at: float) -> None:
        """Record that the program could not be executed."""
        self._warn("Failed", f"Error: {error}")
        self._end(Ended(_START_ERROR_CODE, "StartError", error, 0.0, at, self.state.container_id(self._uid)))

    def on_exited(self, code: int, at: float) -> None:
        """Record the exit of the container's first process, which ends the container."""
        state = self.state
        message = self._read_message(code)
        started_at = state.started_at if state.started_at is not None else at
        reason = "Error" if code else "Completed"
        self._end(Ended(code, reason, message, started_at, at, state.container_id(self._uid)))

    @property
    def _run(self) -> str:
        return f"{self._uid}/{self.state.name}/{self.state.restarts}"

    @property
    def _run_folder(self) -> Path:
        return self._runtime.folder / self._run

    @property
    def _field_path(self) -> str:
        return f"spec.{'initContainers' if self.state.is_init else 'containers'}{{{self.state.name}}}"

    def _launch(self, invocation: Invocation) -> None:
        state = self.state
        if state.ended or state.last:
            shutil.rmtree(self._run_folder, ignore_errors=True)
            state.restarts += 1
        state.is_launching = True
        self._variables = invocation.variables
        self._run_folder.mkdir(parents=True)
        self._make_message_file()
        folder = state.spec.get("workingDir") or str(self._run_folder)
        log = self._runtime.logs.open(self._uid, state.name, state.restarts)
        self._runtime.processes.launch(self._run, invocation.argv, invocation.variables, folder, log, self)
        message = f'Container image "{state.spec["image"]}" already present on machine'
        self._runtime.recorder.normal(POD, self.pod, "Pulled", message, self._field_path)

    def _report_missing_image(self, image: str) -> None:
        """Report a missing image as a kubelet does; it never becomes available here, so the wait never ends."""
        if not is_reference(image):
            error = f'couldn\'t parse image name "{image}": invalid reference format'
            message = f'Failed to apply default image tag "{image}": {error}'
            self._wait("InvalidImageName", message)
            self._warn("InspectFailed", message)
            self._warn("Failed", "Error: InvalidImageName")
        elif self.state.spec.get("imagePullPolicy") == "Never":
            message = f'Container image "{image}" is not present with pull policy of Never'
            self._wait("ErrImageNeverPull", message)
            self._warn("ErrImageNeverPull", message)
            self._warn("Failed", "Error: ErrImageNeverPull")
        else:
            error = f"no row of the image table has the image {image}: not found"
            self._runtime.recorder.normal(POD, self.pod, "Pulling", f'Pulling image "{image}"', self._field_path)
            self._warn("Failed", f'Failed to pull image "{image}": {error}')
            self._warn("Failed", "Error: ErrImagePull")
            self._wait("ErrImagePull", error)
            wait_seconds = min(_PULL_SECONDS, self._runtime.back_off.base_seconds)
            self._timer = self._runtime.loop.after(wait_seconds, self._back_off_pulling, image, error)

    def _back_off_pulling(self, image: str, error: str) -> None:
        message = f'Back-off pulling image "{image}"'
        self._runtime.recorder.normal(POD, self.pod, "BackOff", message, self._field_path)
        self._warn("Failed", "Error: ImagePullBackOff")
        self._wait("ImagePullBackOff", f"{message}: ErrImagePull: {error}")

    def _wait(self, reason: str, message: str) -> None:
        state = self.state
        state.last, state.ended, state.waiting = state.ended or state.last, None, Waiting(reason, message)
        self._on_change()

    def _end(self, end: Ended) -> None:
        state = self.state
        state.waiting, state.ended, state.started_at = None, end, None
        state.is_launching = state.is_ready = state.is_started = False
        if self._prober:
            self._prober.stop()
            self._prober = None
        if self._timer:
            self._timer.cancel()  # the timer of the kill
        self._runtime.logs.end(self._uid, state.name, state.restarts)
        policy = self.pod["spec"].get("restartPolicy", "Always")
        if not self._is_shutting_down and state.restarts_after(end.exit_code, policy):
            self._restart(end)
        self._on_change()

    def _restart(self, end: Ended) -> None:
        """Restart: at once the first time, then with increasing backoff."""
        state, back_off = self.state, self._runtime.back_off
        if end.finished_at - end.started_at > 2 * back_off.cap_seconds:
            state.failures = 0  # it ran long enough to count as stable
        if state.failures == 0:
            self._timer = self._runtime.loop.after(0, self.start)
        else:
            wait_seconds = back_off.period_seconds(state.failures)
            metadata = self.pod["metadata"]
            where = f"pod={metadata['name']}_{metadata['namespace']}({self._uid})"
            message = f"back-off {wait_seconds:g}s restarting failed container={state.name} {where}"
            state.last, state.ended, state.waiting = end, None, Waiting("CrashLoopBackOff", message)
            text = f"Back-off restarting failed container {state.name} in pod {where.removeprefix('pod=')}"
            self._warn("BackOff", text)
            self._timer = self._runtime.loop.after(wait_seconds, self.start)
        state.failures += 1

    def _probe(self, name: str, report: Callable[[bool, str | None], None]) -> None:
        """Run a probe of the container instead of the present one."""
        if self._prober:
            self._prober.stop()
        self._prober = Prober(
            self._runtime.loop,
            self._runtime.processes,
            self._runtime.probes,
            self.state.spec,
            name,
            self._variables,
            self._run_folder,
            report,
        )
        self._prober.start()

    def _begin_service(self) -> None:
        """Record that the container has started, as far as its startup probe is concerned."""
        self.state.is_started = self.state.has_initialized = True
        if self.state.spec.get("readinessProbe"):
            self._probe("readinessProbe", self._on_readiness_probed)
        else:
            self.state.is_ready = True

    def _on_startup_probed(self, has_succeeded: bool, error: str | None) -> None:
        if has_succeeded:
            self._begin_service()
            self._on_change()
            return
        self._warn("Unhealthy", f"Startup probe failed: {error}")
        self._failed_startups += 1
        if self._failed_startups == self.state.spec["startupProbe"].get("failureThreshold", 3):
            message = f"Container {self.state.name} failed startup probe, will be restarted"
            self._runtime.recorder.normal(POD, self.pod, "Killing", message, self._field_path)
            self._signal(signal.SIGKILL)

    def _on_readiness_probed(self, is_ready: bool, error: str | None) -> None:
        if error:
            self._warn("Unhealthy", f"Readiness probe failed: {error}")
        if is_ready != self.state.is_ready:
            self.state.is_ready = is_ready
            self._on_change()

    def _message_path(self) -> Path | None:
        """Return where the program may write its termination message; None when that is outside of its folder.

        The folder is the root of the container's files, since `/dev/termination-log` would be the host's.
        """
        folder = self._run_folder.resolve()
        path = (folder / self.state.spec.get("terminationMessagePath", "/dev/termination-log").lstrip("/")).resolve()
        return path if path.is_relative_to(folder) and path != folder else None

    def _make_message_file(self) -> None:
        """Create the empty termination message file, as a kubelet does."""
        path = self._message_path()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def _read_message(self, code: int) -> str:
        """Return the termination message: the program's or, if the policy allows it, the end of the log."""
        path = self._message_path()  # computed again: the program may have created links
        if path is not None and path.is_file():
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _MESSAGE_BYTES))
                message = file.read(_MESSAGE_BYTES).decode(errors="replace")
            if message:
                return message
        if code and self.state.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            return self._runtime.logs.message(self._uid, self.state.name, self.state.restarts)
        return ""

    def _signal(self, number: int) -> None:
        self._runtime.processes.signal(self._run, number)

    def _warn(self, reason: str, message: str) -> None:
        self._runtime.recorder.warn(POD, self.pod, reason, message, self._field_path)
