"""The image, built once per test run."""

import fcntl
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.image.build import build_image
from tests.image.container import find_missing_requirement
from tests.image.dockerfile import Stage


@dataclass(frozen=True)
class Image:
    """A built image.

    Attributes:
        tree: the folder with its files.
        stage: the last stage of the Dockerfile.
    """

    tree: Path
    stage: Stage


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Image:
    """Build the image by the steps of the Dockerfile; the test processes of a run share it."""
    if why := find_missing_requirement():
        pytest.skip(f"cannot build an image: {why}")
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    result = shared / "image.pickle"
    with (shared / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            result.write_bytes(pickle.dumps(build_image(shared / "image")))
    tree, stage = pickle.loads(result.read_bytes())
    return Image(tree, stage)
