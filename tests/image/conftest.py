"""The image, built once for all tests of a run."""

import fcntl
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.image.build import build_image
from tests.image.container import missing
from tests.image.dockerfile import Stage


@dataclass(frozen=True)
class Image:
    """What was built.

    Attributes:
        tree: its files.
        stage: what the Dockerfile says of it.
    """

    tree: Path
    stage: Stage


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Image:
    """The image, by the steps of the Dockerfile; test processes of one run share it."""
    if why := missing():
        pytest.skip(f"no image can be built here: {why}")
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    result = shared / "image.pickle"
    with (shared / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            result.write_bytes(pickle.dumps(build_image(shared / "image")))
    tree, stage = pickle.loads(result.read_bytes())
    return Image(tree, stage)
