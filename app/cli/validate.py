"""`slimfaas-jobs validate`: report every fault of every job configuration, and every definition, in the given files."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.findings import Finding, Format, report
from schemas.configuration import Definitions, parse_configuration
from schemas.cronjobs import cronjob_pointer, parse_cronjob
from schemas.faults import Fault, Refused
from schemas.lines import find_line
from schemas.manifests import CONFIGMAP_KEYS, Found, find_configurations, find_manifest_line
from schemas.slimfaas_differences import find_differences
from schemas.template_fields import find_field_faults
from schemas.warnings import find_warnings

_STDIN = "-"
_SUFFIXES = (".json", ".yaml", ".yml")

ServerCheck = Callable[[Definitions, str | None], tuple[list[Fault], list[Fault]]]
"""Checks definitions with an API server, given their object's namespace; returns faults and warnings.

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
        from_slimfaas: whether to tell what SlimFaas does differently with a valid configuration.
    """

    keys: tuple[str, ...] = ()
    allow_none: bool = False
    output_format: Format = "text"
    from_slimfaas: bool = False


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
    names, found, failure = _Names(), 0, None
    for file, is_named in _expand(files):
        # A named file must be a configuration or a manifest, unless --allow-none is given. A folder may hold any files.
        configurations, failures = _read(file, options, ignore_unrelated=options.allow_none or not is_named)
        findings += failures
        found += len(configurations) + len(failures)
        for configuration in configurations:
            try:
                findings += _check(file, configuration, options, server_check if failure is None else None, names)
            except ServerUnavailableError as error:
                failure = error
    findings += names.conflicts()
    report(findings, options.output_format)
    if failure is not None:
        print(failure, file=sys.stderr)
    if not found and not options.allow_none:
        print("no job configuration found in: " + ", ".join(files), file=sys.stderr)
        return 1
    if any(not finding.is_warning for finding in findings):
        return 1
    return 0 if failure is None else 3


def _check(
    file: str, found: Found, options: Options, server_check: ServerCheck | None, names: "_Names"
) -> list[Finding]:
    try:
        definitions = _parse(found)
    except Refused as refusal:
        return [_finding(file, found, fault) for fault in refusal.faults]
    names.add(file, found, definitions)
    warnings = find_warnings(definitions) + (find_differences(definitions) if options.from_slimfaas else [])
    # An API server knows its own fields better: it may be newer or older than what is checked without it.
    faults, more_warnings = (
        server_check(definitions, found.namespace) if server_check else (find_field_faults(definitions), [])
    )
    if found.cronjob is not None:
        (name,) = definitions
        faults, warnings, more_warnings = (
            [Fault(cronjob_pointer(fault.pointer, name), fault.message) for fault in some]
            for some in (faults, warnings, more_warnings)
        )
    return [
        *(_finding(file, found, fault) for fault in faults),
        *(_finding(file, found, fault, is_warning=True) for fault in [*warnings, *more_warnings]),
    ]


def _parse(found: Found) -> Definitions:
    """Return the definitions of a configuration, or the one of a CronJob.

    Raises:
        Refused: it has faults.
    """
    if found.cronjob is None:
        return parse_configuration(found.document)
    definition = parse_cronjob(found.cronjob)
    return {definition.name: definition}


class _Names:
    """The names that configurations and CronJobs define, to find those that both do."""

    def __init__(self) -> None:
        self._configured: dict[str, list[tuple[str, Found]]] = {}
        self._cronjobs: list[tuple[str, str, Found]] = []

    def add(self, file: str, found: Found, definitions: Definitions) -> None:
        """Note the definitions of a file."""
        for name in definitions:
            if found.cronjob is None:
                self._configured.setdefault(name, []).append((file, found))
            else:
                self._cronjobs.append((name, file, found))

    def conflicts(self) -> list[Finding]:
        """Warn of each CronJob whose name a configuration has. Objects without a namespace may be in any."""
        return [
            _finding(file, cronjob, Fault("/metadata/name", _overridden_by(other, configuration)), is_warning=True)
            for name, file, cronjob in self._cronjobs
            for other, configuration in self._configured.get(name, ())
            if None in (cronjob.namespace, configuration.namespace) or cronjob.namespace == configuration.namespace
        ]


def _overridden_by(file: str, configuration: Found) -> str:
    place = f"{_name(file)}, {configuration.place}" if configuration.place else _name(file)
    return f"the configuration in {place} has a definition of this name; a service with both uses the configuration's"


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


def _read(file: str, options: Options, *, ignore_unrelated: bool) -> tuple[list[Found], list[Finding]]:
    try:
        data = sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()
    except OSError as error:
        return [], [_unreadable(file, error.strerror or str(error))]
    try:
        text = data.decode("utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError as error:
        return [], [] if ignore_unrelated else [_unreadable(file, f"not UTF-8 text: {error}")]
    try:
        return find_configurations(text, (*CONFIGMAP_KEYS, *options.keys), ignore_unrelated=ignore_unrelated), []
    except Refused as refusal:
        return [], [Finding(_name(file), None, "", fault) for fault in refusal.faults]


def _unreadable(file: str, reason: str) -> Finding:
    return Finding(_name(file), None, "", Fault("", reason), is_unreadable=True)


def _finding(file: str, found: Found, fault: Fault, *, is_warning: bool = False) -> Finding:
    line = found.line
    if found.cronjob is not None:
        line = find_manifest_line(found.cronjob, fault.pointer)
    elif line is not None and found.is_verbatim:
        line += find_line(found.document, fault.pointer)
    return Finding(_name(file), line, found.place, fault, is_warning)
