"""`slimfaas-jobs validate`: report every fault of every job configuration in the given files."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.findings import Finding, Format, report
from schemas.configuration import Definitions, parse_configuration
from schemas.faults import Fault, Refused
from schemas.lines import find_line
from schemas.manifests import CONFIGMAP_KEYS, Found, find_configurations

_STDIN = "-"
_SUFFIXES = (".json", ".yaml", ".yml")

ServerCheck = Callable[[Definitions, str | None], tuple[list[Fault], list[Fault]]]
"""Checks definitions with an API server, given their ConfigMap's namespace; returns faults and warnings.

Raises `ServerUnavailableError` if the API server gives no verdict.
"""


class ServerUnavailableError(Exception):
    """The API server gave no verdict; the message says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command's options.

    Attributes:
        keys: keys of ConfigMaps to check in addition to `CONFIGMAP_KEYS`.
        allow_none: whether files without a configuration are accepted.
        output_format: the format of the report.
    """

    keys: tuple[str, ...] = ()
    allow_none: bool = False
    output_format: Format = "text"


def validate(files: Sequence[str], options: Options, server_check: ServerCheck | None = None) -> int:
    """Check files, and print their faults.

    Args:
        files: paths of files and folders, and `-`.
        options: the command's options.
        server_check: a further check of each configuration without faults; `None`: none.

    Returns:
        The exit code. 0: no faults; 1: faults, or nothing to check; 3: no faults without the API server, which gave no
        verdict.
    """
    findings: list[Finding] = []
    found, failure = 0, None
    for file, is_named in _expand(files):
        # A named file must be a configuration or a manifest, unless --allow-none is given. A folder may hold any files.
        configurations, faults = _read(file, options, ignore_unrelated=options.allow_none or not is_named)
        findings += (Finding(_name(file), None, "", fault) for fault in faults)
        found += len(configurations) + len(faults)
        for configuration in configurations:
            try:
                findings += _check(file, configuration, server_check if failure is None else None)
            except ServerUnavailableError as error:
                failure = error
    report(findings, options.output_format)
    if failure is not None:
        print(failure, file=sys.stderr)
    if not found and not options.allow_none:
        print("no job configuration found in: " + ", ".join(files), file=sys.stderr)
        return 1
    if any(not finding.is_warning for finding in findings):
        return 1
    return 0 if failure is None else 3


def _check(file: str, configuration: Found, server_check: ServerCheck | None) -> list[Finding]:
    try:
        definitions = parse_configuration(configuration.document)
    except Refused as refusal:
        return [_finding(file, configuration, fault) for fault in refusal.faults]
    faults, warnings = server_check(definitions, configuration.namespace) if server_check else ([], [])
    return [
        *(_finding(file, configuration, fault) for fault in faults),
        *(_finding(file, configuration, fault, is_warning=True) for fault in warnings),
    ]


def _name(file: str) -> str:
    return "standard input" if file == _STDIN else file


def _expand(files: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Return each file, and whether it was named itself instead of its folder. Hidden files in folders are skipped."""
    for file in files:
        if file == _STDIN or not Path(file).is_dir():
            yield file, True
            continue
        for folder, folders, names in os.walk(file):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder, name)
                # Reading a pipe may never begin, and reading a device may never end. A broken link is a fault.
                is_file = path.is_file() or not path.exists()
                if name.endswith(_SUFFIXES) and not name.startswith(".") and is_file:
                    yield str(path), False


def _read(file: str, options: Options, *, ignore_unrelated: bool) -> tuple[list[Found], Sequence[Fault]]:
    try:
        data = sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()
        text = data.decode("utf-8-sig")  # some editors write a byte order mark
        return find_configurations(text, (*CONFIGMAP_KEYS, *options.keys), ignore_unrelated=ignore_unrelated), ()
    except (OSError, UnicodeDecodeError) as error:
        if ignore_unrelated and isinstance(error, UnicodeDecodeError):
            return [], ()
        return [], [Fault("", f"cannot be read: {error}")]
    except Refused as refusal:
        return [], refusal.faults


def _finding(file: str, configuration: Found, fault: Fault, *, is_warning: bool = False) -> Finding:
    line = configuration.line
    if line is not None and configuration.is_verbatim:
        line += find_line(configuration.document, fault.pointer)
    return Finding(_name(file), line, configuration.place, fault, is_warning)
