"""The embedded cluster's API server: the Kubernetes API over HTTP/1.1."""

from devcluster.http.server import ApiServer

__all__ = ["ApiServer"]
