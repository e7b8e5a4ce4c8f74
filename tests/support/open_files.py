"""How many files this process may open."""

import resource

import pytest


def allow_open_files(count: int) -> None:
    """Let this process open so many files; skip the test where the machine does not permit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"the test needs {count} open files, and this machine permits {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
