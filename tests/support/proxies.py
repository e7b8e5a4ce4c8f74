"""Proxies of the environment, which tests must not use for this machine."""

import os

_LOOPBACK = "localhost,127.0.0.0/8,127.0.0.1,::1"


def keep_loopback_direct() -> None:
    """Have all HTTP clients of this process, and of those that it starts, reach this machine without a proxy."""
    others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = f"{_LOOPBACK},{others}" if others else _LOOPBACK
