"""Merges the files of `KUBECONFIG`, and finds the current context in them.

The rules are kubectl's: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class KubeconfigError(Exception):
    """A kubeconfig lacks something. The message says what, and quotes nothing but names."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A cluster or a user.

    Attributes:
        values: what the kubeconfig says of it.
        folder: the folder of its file; relative paths start there.
    """

    values: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True, slots=True)
class Context:
    """The current context.

    Attributes:
        cluster: its cluster.
        user: its user, which is empty if the context names none.
        namespace: its namespace; `None`: it names none.
    """

    cluster: Entry
    user: Entry
    namespace: str | None


def read_context(paths: str) -> Context:
    """Read the current context. Of several entries with the same name, the first file's counts.

    Args:
        paths: one or more paths, separated by colons; files that do not exist are passed over.

    Raises:
        KubeconfigError: there is no file, or an entry is missing.
        Exception: a file is not a kubeconfig (AttributeError, KeyError, OSError, TypeError, ValueError, YAMLError).
    """
    files = [file for path in paths.split(":") if path and (file := Path(path).expanduser()).exists()]
    if not files:
        raise KubeconfigError("the file does not exist")
    read = [(_read(file), file.resolve().parent) for file in files]
    current = next((name for document, _ in read if (name := document.get("current-context"))), None)
    if current is None:
        raise KubeconfigError("it has no current-context")
    context = _find(read, "contexts", "context", current).values
    if not context.get("cluster"):
        raise KubeconfigError(f"the context {current} names no cluster")
    cluster = _find(read, "clusters", "cluster", context["cluster"])
    user = _find(read, "users", "user", context["user"]) if context.get("user") else Entry({}, cluster.folder)
    return Context(cluster, user, context.get("namespace") or None)


def _read(file: Path) -> Mapping[str, Any]:
    document = yaml.safe_load(file.read_text("utf-8"))
    if document is None:
        raise KubeconfigError(f"{file} is empty")
    if not isinstance(document, dict):
        raise TypeError("not a mapping")
    return document


def _find(read: list[tuple[Mapping[str, Any], Path]], kinds: str, kind: str, name: Any) -> Entry:
    """Return the first entry of a kind with this name."""
    for document, folder in read:
        for entry in document.get(kinds) or ():
            if entry["name"] == name:
                return Entry(entry.get(kind) or {}, folder)
    raise KubeconfigError(f"there is no {kind} {name}")
