"""`slimfaas-jobs validate`: every fault of every configuration in the files that are given."""

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

Ask = Callable[[Definitions, str | None], tuple[list[Fault], list[Fault]]]
"""Asks an API server about definitions, given their ConfigMap's namespace; gives faults and warnings.

It raises `CanNotAsk` where there is no answer to be had.
"""


class CanNotAsk(Exception):
    """The API server couldn't be asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to check.

    Attributes:
        keys: of ConfigMaps, beside those that the service knows.
        allow_none: whether it is right that there is no configuration at all.
        form: of what is printed.
    """

    keys: tuple[str, ...] = ()
    allow_none: bool = False
    form: Format = "text"


def validate(files: Sequence[str], options: Options, ask: Ask | None = None) -> int:
    """Check files, and print what is wrong.

    Args:
        files: paths of files and folders, and `-`.
        options: how.
        ask: what else to ask about a configuration without a fault; `None`: nothing.

    Returns:
        0: no fault; 1: faults, or nothing to check; 3: all that could be checked without the API server is right, but
        it couldn't be asked.
    """
    findings: list[Finding] = []
    found, failure = 0, None
    for file, is_named in _expand(files):
        # What was named must hold a configuration, unless that is allowed not to be so; in a folder there is all sorts.
        configurations, faults = _read(file, options, any_sort=options.allow_none or not is_named)
        findings += (Finding(_name(file), None, "", fault) for fault in faults)
        found += len(configurations) + len(faults)
        for configuration in configurations:
            try:
                findings += _check(file, configuration, ask if failure is None else None)
            except CanNotAsk as error:
                failure = error
    report(findings, options.form)
    if failure is not None:
        print(failure, file=sys.stderr)
    if not found and not options.allow_none:
        print("no job configuration found in: " + ", ".join(files), file=sys.stderr)
        return 1
    if any(not finding.is_warning for finding in findings):
        return 1
    return 0 if failure is None else 3


def _check(file: str, configuration: Found, ask: Ask | None) -> list[Finding]:
    try:
        definitions = parse_configuration(configuration.document)
    except Refused as refusal:
        return [_finding(file, configuration, fault) for fault in refusal.faults]
    faults, warnings = ask(definitions, configuration.namespace) if ask is not None else ([], [])
    return [
        *(_finding(file, configuration, fault) for fault in faults),
        *(_finding(file, configuration, fault, is_warning=True) for fault in warnings),
    ]


def _name(file: str) -> str:
    return "standard input" if file == _STDIN else file


def _expand(files: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each file, and whether it was named itself rather than its folder; hidden ones in folders are left out."""
    for file in files:
        if file == _STDIN or not Path(file).is_dir():
            yield file, True
            continue
        for folder, folders, names in os.walk(file):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder, name)
                # A pipe would be waited for, and a device may have no end.
                is_file = path.is_file() or not path.exists()
                if name.endswith(_SUFFIXES) and not name.startswith(".") and is_file:
                    yield str(path), False


def _read(file: str, options: Options, *, any_sort: bool) -> tuple[list[Found], Sequence[Fault]]:
    try:
        data = sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()
        text = data.decode("utf-8-sig")  # some editors put a mark in front
        return find_configurations(text, (*CONFIGMAP_KEYS, *options.keys), any_sort=any_sort), ()
    except (OSError, UnicodeDecodeError) as error:
        if any_sort and isinstance(error, UnicodeDecodeError):
            return [], ()
        return [], [Fault("", f"can't be read: {error}")]
    except Refused as refusal:
        return [], refusal.faults


def _finding(file: str, configuration: Found, fault: Fault, *, is_warning: bool = False) -> Finding:
    line = configuration.line
    if line is not None and configuration.is_verbatim:
        line += find_line(configuration.document, fault.pointer)
    return Finding(_name(file), line, configuration.place, fault, is_warning)
