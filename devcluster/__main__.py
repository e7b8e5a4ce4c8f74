"""The command line of the embedded cluster: `python -m devcluster`."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from devcluster.cluster import Cluster, Options
from devcluster.node.images import ImageTableError

_DESCRIPTION = """\
Serve the part of the Kubernetes API that jobs need, from memory, and run their containers as local processes.

The API server does not authenticate: anyone who can reach the port can run programs as you. Listen on loopback only.
Ctrl-C or SIGTERM stops the cluster and all its containers.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a cluster until a signal stops it.

    Returns:
        0 after a signal, 1 when the cluster cannot serve, 2 when the arguments are invalid.
    """
    options = _parse(arguments)
    level = logging.DEBUG if options.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    # A signal handler may interrupt this thread while it holds a lock. So it takes no lock and only writes to a pipe.
    stopping, stop = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(stop, b"."))
    try:
        cluster = Cluster(
            Options(
                host=options.host,
                port=options.port,
                namespace=options.namespace,
                images=options.images,
                back_off_seconds=options.back_off_seconds,
                history_size=options.history_size,
            )
        )
    except ImageTableError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"devcluster: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return _serve(cluster, options.kubeconfig, stopping)


def _serve(cluster: Cluster, kubeconfig: Path | None, stopping: int) -> int:
    with cluster:
        where = ""
        if kubeconfig:
            try:
                cluster.write_kubeconfig(kubeconfig)
            except OSError as error:
                print(f"devcluster: cannot write {kubeconfig}: {error.strerror}", file=sys.stderr)
                return 1
            where = f", kubeconfig {kubeconfig}"
        print(f"devcluster serves {cluster.url}{where}", flush=True)
        os.read(stopping, 1)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    defaults = Options()
    parser = argparse.ArgumentParser(
        prog="python -m devcluster", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--port", type=_port, default=defaults.port, help="port to listen on; 0, the default, picks a free one")
    add("--host", default=defaults.host, help="address to listen on (default: %(default)s)")
    add("--kubeconfig", type=Path, metavar="FILE", help="write a kubeconfig for the cluster as soon as it serves")
    add("--namespace", default=defaults.namespace, help="namespace of the kubeconfig (default: %(default)s)")
    add("--images", type=Path, metavar="FILE",
        help='JSON table of additional images, such as {"example/tool:*": ["/usr/bin/tool", "--fast"]}; '
             "an empty list runs the container's args; {python} is this Python")  # fmt: skip
    add("--back-off-seconds", type=_seconds, default=defaults.back_off_seconds, metavar="SECONDS",
        help="wait before a failed pod is replaced or a container is restarted again; doubles each time "
             "(default: %(default)s, as in Kubernetes)")  # fmt: skip
    add("--history-size", type=int, default=defaults.history_size, metavar="CHANGES",
        help="changes kept for each kind; a watch further behind gets 410 Gone (default: %(default)s)")  # fmt: skip
    add("--verbose", action="store_true", help="log every request and what the controllers do")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


if __name__ == "__main__":
    sys.exit(main())
