"""A ConfigMap volume, written and updated the way the kubelet does it."""

import json
import secrets
from pathlib import Path
from typing import Any


class MountedConfigMap:
    """One key of a ConfigMap as a file.

    The file is a symbolic link into the folder that `..data` points to. An update writes a new folder and then repoints
    `..data` with one rename (https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter).

    Args:
        folder: where the volume is mounted; it is created.
        document: the key's first content; a dictionary is written as JSON.

    Attributes:
        file: the path that a process reads.
    """

    def __init__(self, folder: Path, document: str | dict[str, Any]) -> None:
        folder.mkdir()
        self._folder = folder
        self.file = folder / "jobs.json"
        self.write(document)
        self.file.symlink_to(Path("..data") / self.file.name)

    def write(self, document: str | dict[str, Any]) -> None:
        """Replace the content atomically."""
        text = document if isinstance(document, str) else json.dumps(document)
        data = self._folder / f"..{secrets.token_hex(8)}"
        data.mkdir()
        (data / self.file.name).write_text(text, "utf-8")
        link = self._folder / "..data_tmp"
        link.symlink_to(data.name)
        link.replace(self._folder / "..data")
