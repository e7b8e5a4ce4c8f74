"""Whether this process can serve."""

from app.cluster.namespace import Namespace


class Health:
    """What the readiness probe asks for."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._reached = False

    def check(self) -> None:
        """Ask the API server once, with this service's own rights, whether runs can be read.

        After the first success nothing is asked any more: a service that loses its API server later must stay
        reachable, to tell its callers so.

        Raises:
            ClusterError: not yet.
        """
        if not self._reached:
            next(self._namespace.pages(self._namespace.runs))
            self._reached = True
