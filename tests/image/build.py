"""Execute the steps of a Dockerfile on file trees, one for each stage, as a container engine would.

Requires root, for `chroot`. `python -m tests.image.build FOLDER` builds the image there and prints its size by parts.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.image.base import ENVIRONMENT, make_base
from tests.image.dockerfile import Stage, Step, read_dockerfile

ROOT = Path(__file__).resolve().parents[2]

_INSTALLING = ("PIP_", "SSL_", "REQUESTS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy")
"""Variables with which pip reaches its index from this machine; a container engine has its own settings for that."""

_NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/pip.conf", "/etc/ssl")


def build_image(folder: Path) -> tuple[Path, Stage]:
    """Build the image.

    Args:
        folder: the folder for the stages' trees; it is created.

    Returns:
        The last stage's tree, and the parsed stage.
    """
    folder.mkdir()
    base = folder / "base"
    make_base(base)
    stages = read_dockerfile((ROOT / "Dockerfile").read_text("utf-8"), ENVIRONMENT)
    trees: dict[str, Path] = {}
    for number, stage in enumerate(stages):
        tree = folder / (stage.name or f"stage-{number}")
        shutil.copytree(base, tree, symlinks=True)
        last = stage is stages[-1]
        _execute(stage, tree, trees, network=not last)
        trees[stage.name] = tree
    return tree, stage


def _execute(stage: Stage, tree: Path, trees: Mapping[str, Path], *, network: bool) -> None:
    folder = "/"
    for step in stage.steps:
        match step.instruction:
            case "WORKDIR":
                folder = step.arguments[0]
                (tree / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY":
                _copy(step, tree, folder, trees[step.stage] if step.stage else ROOT)
            case "RUN":
                _run(step.arguments[0], tree, folder, {**ENVIRONMENT, **stage.environment}, network=network)


def _copy(step: Step, tree: Path, folder: str, source: Path) -> None:
    """Copy as `COPY` does: the content of folders, and files by their names; byte code is not in the build context."""
    *sources, destination = step.arguments
    target = tree / str(Path(folder, destination)).lstrip("/")
    if destination.endswith("/"):
        target.mkdir(parents=True, exist_ok=True)
    for name in sources:
        found = source / name.lstrip("/")
        if found.is_dir():
            ignored = shutil.ignore_patterns("__pycache__") if source == ROOT else None
            shutil.copytree(found, target, symlinks=True, dirs_exist_ok=True, ignore=ignored)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, target / found.name if destination.endswith("/") else target)


def _run(command: str, tree: Path, folder: str, environment: Mapping[str, str], *, network: bool) -> None:
    """Run a shell command in a tree, with this machine's network settings only where it is needed."""
    shared: list[str] = []
    if network:
        environment = {**environment, **{k: v for k, v in os.environ.items() if k.startswith(_INSTALLING)}}
        links = [part for part in os.environ.get("PIP_FIND_LINKS", "").split() if part.startswith("/")]
        shared = [path for path in (*_NETWORK_FILES, *links) if Path(path).exists()]
    mounts = "".join(_mount_script(tree, path) for path in shared)
    inside = f"cd {folder} && {command}"
    script = f'set -e\nmount -t proc proc "{tree}/proc"\n{mounts}exec chroot "{tree}" /bin/sh -c "$1"\n'
    # In its own mount namespace, so that the mounts end with the command.
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", inside],
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"failed with {done.returncode}: RUN {command}\n{done.stdout}")


def _mount_script(tree: Path, path: str) -> str:
    target = tree / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if Path(path).is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    return f'mount --bind -o ro "{path}" "{target}"\n'


def sizes(tree: Path) -> dict[str, int]:
    """Return the sizes of an image's parts in bytes."""
    (packages,) = tree.glob("opt/slimfaas-jobs/lib/python3.*/site-packages")
    parts = {
        "the service": ["app", "schemas", "wsgi.py", "slimfaas_jobs", "slimfaas_jobs-*", "__pycache__"],
        "kubernetes": ["kubernetes", "kubernetes-*"],
    }
    found = {part: sum(_size(path) for name in names for path in packages.glob(name)) for part, names in parts.items()}
    installed = _size(tree / "opt")
    found["other packages"] = installed - sum(found.values())
    found["the base's Python"] = _size(tree / "usr" / "local")
    found["the rest of the base"] = _size(tree) - installed - found["the base's Python"]
    return found


def _size(path: Path) -> int:
    if path.is_file() or path.is_symlink():
        return path.lstat().st_size
    return sum(child.lstat().st_size for child in path.rglob("*") if not child.is_dir())


if __name__ == "__main__":
    image, _ = build_image(Path(sys.argv[1]))
    for part, size in sizes(image).items():
        print(f"{size / 1024 / 1024:7.1f} MiB  {part}")
    print(f"{_size(image) / 1024 / 1024:7.1f} MiB  together")
