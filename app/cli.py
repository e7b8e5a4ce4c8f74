"""`slimfaas-jobs`: the command line of the service."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from app import create_probe_app
from app.cluster.client import ClusterSettingsError
from app.observability.logs import set_up_logs
from app.probes import ProbeServer
from app.service import build_service
from app.settings import Settings, SettingsError
from schemas.configuration import parse_configuration
from schemas.faults import Fault, Refused
from schemas.manifests import find_configurations

_STDIN = "-"
_ENDS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: `None`: those of the process.

    Returns:
        The process's exit code.
    """
    parser = argparse.ArgumentParser(prog="slimfaas-jobs", description="Start Kubernetes Jobs over HTTP.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    validate = commands.add_parser(
        "validate",
        help="check job configurations",
        description="Check job configurations: JSON files, and every ConfigMap in Kubernetes manifests that carries "
        "one. Prints each fault with its file, its ConfigMap and its JSON pointer; exits with 1 when there is any.",
    )
    validate.add_argument("files", nargs="+", metavar="FILE", help="JSON or YAML; - reads the standard input")
    validate.set_defaults(run=lambda parsed: _validate(parsed.files))

    dispatcher = commands.add_parser(
        "dispatcher",
        help="admit queued runs, without serving HTTP",
        description="Admit queued runs, without serving HTTP. The settings are the same environment variables.",
    )
    dispatcher.set_defaults(run=lambda _: _dispatch())

    parsed = parser.parse_args(arguments)
    code: int = parsed.run(parsed)
    return code


def _validate(files: Sequence[str]) -> int:
    found, faults = 0, 0
    for file in files:
        for place, fault in _check_file(file):
            found += 1
            if fault is not None:
                faults += 1
                print(f"{place}: {fault}")
    if not found:
        print("no job configuration found in: " + ", ".join(files), file=sys.stderr)
        return 1
    return 1 if faults else 0


def _check_file(file: str) -> list[tuple[str, Fault | None]]:
    """Each fault of a file with where it is; one entry without a fault for each configuration that has none."""
    name = "standard input" if file == _STDIN else file
    try:
        text = sys.stdin.read() if file == _STDIN else Path(file).read_text("utf-8")
        configurations = find_configurations(text)
    except (OSError, UnicodeDecodeError) as error:
        return [(name, Fault("", f"can't be read: {error}"))]
    except Refused as refusal:
        return [(name, fault) for fault in refusal.faults]
    checked: list[tuple[str, Fault | None]] = []
    for configuration in configurations:
        place = f"{name}: {configuration.place}" if configuration.place else name
        try:
            parse_configuration(configuration.document)
            checked.append((place, None))
        except Refused as refusal:
            checked += [(place, fault) for fault in refusal.faults]
    return checked


def _dispatch() -> int:
    # Waited for, not handled: a handler runs between any two steps of this thread, where it may not touch a lock. Every
    # thread begins with what is blocked here; and process 1 of a container would miss a signal sent before.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        settings = Settings.from_environment()
        set_up_logs(settings.log_format, settings.log_level)
        service = build_service(settings)
    except Refused as refusal:
        print("the job configuration is faulty:", *refusal.faults, sep="\n", file=sys.stderr)
        return 1
    except (SettingsError, ClusterSettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    if service.dispatcher is None:
        print("SLIMFAAS_DISPATCHER is off: there is nothing to do", file=sys.stderr)
        return 1
    try:
        probes = ProbeServer(create_probe_app(service), service.settings.port)
    except OSError as error:
        print(f"PORT={service.settings.port} can't be had for probes and metrics: {error.strerror}", file=sys.stderr)
        return 1
    service.start()
    signal.sigwait(_ENDS)
    service.stop()
    probes.close()
    return 0
