"""Finds promtool: on `PATH`, in the cache, or by a build with Go.

`python -m tests.promtool.build` prints its path.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_MODULE = Path(__file__).resolve().parent
_PACKAGE = "github.com/prometheus/prometheus/cmd/promtool"


class PromtoolUnavailable(Exception):
    """promtool neither exists nor can be built; the message is one line that says what is missing."""


def find_promtool(*, build: bool) -> Path:
    """Return the path of promtool, on `PATH` (Debian: `apt-get install prometheus`) or in the cache of earlier builds.

    Args:
        build: whether to build it if necessary, which takes some minutes once; the cache is outside of the checkout.

    Raises:
        PromtoolUnavailable: it neither exists nor can be built.
    """
    if found := shutil.which("promtool"):
        return Path(found)
    if shutil.which("go") is None:
        raise PromtoolUnavailable("no promtool on PATH, and no Go to build it")
    program = _cache_folder() / "promtool"
    if not program.is_file():
        if not build:
            raise PromtoolUnavailable("no promtool on PATH; `make e2e` builds it, or python -m tests.promtool.build")
        program.parent.mkdir(parents=True, exist_ok=True)
        with (program.parent / "lock").open("w") as lock:  # concurrent callers wait for the build
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not program.is_file():
                _build(program)
    return program


def has_promtool() -> bool:
    """Whether it is there, so that nothing has to be built."""
    try:
        find_promtool(build=False)
    except PromtoolUnavailable:
        return False
    return True


def _cache_folder() -> Path:
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((_MODULE / name).read_bytes())
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "slimfaas-jobs" / "promtool" / digest.hexdigest()[:16]


def _build(program: Path) -> None:
    """Build beside the final path, and rename the result at the end."""
    print(f"building promtool into {program}: this takes some minutes, once", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=program.parent, prefix="build-") as work:
        built = Path(work) / "promtool"
        # Without service discovery, which would need the libraries of every cloud provider.
        options = ["-trimpath", "-buildvcs=false", "-tags=remove_all_sd", "-ldflags=-s -w", f"-o={built}"]
        ended = subprocess.run(
            ["go", "build", *options, _PACKAGE], cwd=_MODULE, capture_output=True, text=True, check=False
        )
        if ended.returncode != 0:
            raise PromtoolUnavailable(f"promtool cannot be built: {' '.join(ended.stderr.split())[-300:]}")
        built.rename(program)


if __name__ == "__main__":
    print(find_promtool(build=True))
