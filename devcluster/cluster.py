"""The embedded cluster: store, controllers, node and API server in one process.

It is for laptops and tests. All data is in memory, the API server does not authenticate, and containers are plain
processes of the user who starts the cluster. So it must listen on the loopback network only.
"""

import contextlib
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from devcluster.controllers.backoff import BackOff
from devcluster.controllers.cache import Cache
from devcluster.controllers.cron_jobs import CronJobController
from devcluster.controllers.deployments import DeploymentController
from devcluster.controllers.expiry import EventExpiry, JobExpiry
from devcluster.controllers.garbage import GarbageCollector
from devcluster.controllers.jobs import JobController
from devcluster.controllers.loop import Loop
from devcluster.controllers.recorder import Recorder
from devcluster.controllers.stateful_sets import StatefulSetController
from devcluster.http import ApiServer
from devcluster.kinds import KINDS
from devcluster.node import machine
from devcluster.node.container_worker import Runtime
from devcluster.node.environment import Host
from devcluster.node.images import FollowedTable, load_table
from devcluster.node.kubelet import Kubelet
from devcluster.node.logs import Logs
from devcluster.node.processes import Processes
from devcluster.store import Store
from devcluster.tokens import TokenAuthority

_POD_BACK_OFF_CAP_SECONDS = 600.0
_CONTAINER_BACK_OFF_CAP_SECONDS = 300.0
_PROBE_THREADS = 8  # the limit; started on demand


@dataclass(frozen=True)
class Options:
    """Options of a cluster; the defaults are those of Kubernetes."""

    host: str = "127.0.0.1"
    port: int = 0  # 0 picks a free port
    namespace: str = "default"  # of the kubeconfig's context; every namespace exists on demand
    images: Path | None = None  # a table file; see `devcluster.node.images`
    back_off_seconds: float = 10.0  # before a failed pod is replaced or a container is restarted again; doubles
    history_size: int = 10_000  # changes kept for each kind; a watch that is further behind gets 410


class Cluster:
    """One cluster, from `start` to `stop`; also a context manager. It cannot be started again.

    Args:
        options: `None` for the defaults.
        store: what it holds at first; `None` for an empty one. No container of its pods runs yet.

    Raises:
        ImageTableError: the table file is missing or invalid.
        OSError: the server cannot listen on the address.
    """

    def __init__(self, options: Options | None = None, store: Store | None = None) -> None:
        self.options = options or Options()
        self.store = store or Store(history_size=self.options.history_size)
        self._exit = contextlib.ExitStack()
        images = FollowedTable(self.options.images) if self.options.images else load_table(None)
        with contextlib.ExitStack() as undo:
            folder = Path(tempfile.mkdtemp(prefix="devcluster-"))
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            self._logs = Logs(folder / "logs")
            self._server = ApiServer(self.store, self._logs, host=self.options.host, port=self.options.port)
            self._exit = undo.pop_all()
        self._loop = Loop("controllers")
        self._cache = Cache(self.store, self._loop, KINDS)
        self._processes = Processes(self._loop, folder)
        self._probes = ThreadPoolExecutor(_PROBE_THREADS, thread_name_prefix="probe")
        runtime = Runtime(
            loop=self._loop,
            cache=self._cache,
            recorder=Recorder(self.store, "kubelet", machine.NAME),
            processes=self._processes,
            probes=self._probes,
            images=images,
            logs=self._logs,
            folder=folder / "containers",
            host=Host(machine.IP, machine.resources(), self._service_variables()),
            back_off=BackOff(self.options.back_off_seconds, _CONTAINER_BACK_OFF_CAP_SECONDS),
        )
        self._kubelet = Kubelet(self._cache, runtime, Recorder(self.store, "default-scheduler"))
        pod_back_off = BackOff(self.options.back_off_seconds, _POD_BACK_OFF_CAP_SECONDS)
        # Each controller subscribes to the cache, which keeps a reference to it.
        JobController(self._cache, self._loop, Recorder(self.store, "job-controller"), pod_back_off)
        DeploymentController(self._cache, self._loop, Recorder(self.store, "deployment-controller"))
        StatefulSetController(self._cache, self._loop, Recorder(self.store, "statefulset-controller"))
        self._cron_jobs = CronJobController(self._cache, self._loop, Recorder(self.store, "cronjob-controller"))
        JobExpiry(self._cache, self._loop)
        EventExpiry(self._cache, self._loop)
        GarbageCollector(self._cache, self.store)

    @property
    def url(self) -> str:
        """The API server's base URL."""
        return self._server.url

    @property
    def tokens(self) -> TokenAuthority:
        """The signer of this cluster's tokens."""
        return self._server.tokens

    def start(self) -> None:
        """Start the cluster; it serves when this returns."""
        self._processes.start()
        self._exit.callback(self._processes.stop)
        self._exit.callback(self._probes.shutdown, cancel_futures=True)
        self._kubelet.register()
        self._loop.start()
        self._exit.callback(self._loop.stop)
        self._cache.start()
        self._exit.callback(self._cache.stop)
        self._server.start()

    def stop(self) -> None:
        """Stop serving and end every container process."""
        self._logs.close()
        self._server.stop()
        self._exit.close()

    def move_cron_clock(self, by: timedelta) -> None:
        """Move the clock of the CronJob controller, so that ticks come without waiting for them."""
        self._cron_jobs.move_clock(by)

    def write_kubeconfig(self, path: Path) -> None:
        """Write a kubeconfig for this cluster, as JSON, which is also YAML.

        The file appears in one step, so it is complete as soon as it exists.
        """
        name = "devcluster"
        context = {"cluster": name, "user": name, "namespace": self.options.namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": self.url}}],
            "users": [{"name": name, "user": {}}],
            "contexts": [{"name": name, "context": context}],
            "current-context": name,
        }
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(config, file, indent=2)
                file.write("\n")
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def __enter__(self) -> "Cluster":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _service_variables(self) -> dict[str, str]:
        """Return the environment variables that tell a container where the API server is."""
        return {"KUBERNETES_SERVICE_HOST": self.options.host, "KUBERNETES_SERVICE_PORT": str(self._server.port)}
