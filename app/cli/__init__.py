"""`slimfaas-jobs`: the command line.

Each command imports what it needs only when it runs: a check of a file, in an editor or a commit hook, must not wait
until the web framework and the Kubernetes client are imported (docs/adr/0010-checking-configurations.md).
"""

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line; `None`: this process's own.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="slimfaas-jobs", description="Start Kubernetes Jobs over HTTP.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    validate = commands.add_parser(
        "validate",
        help="check job configurations",
        description="Check job configurations: JSON files, and all ConfigMaps with a configuration in Kubernetes "
        "manifests. Print each fault with its file, its ConfigMap and its JSON pointer.",
        epilog="Exit codes: 0: no faults; 1: faults, or nothing to check; 2: invalid arguments; 3: no faults found in "
        "the files, but the API server could not be reached.",
    )
    _add_validate_arguments(validate)
    validate.set_defaults(run=_validate)
    commands.add_parser(
        "schema",
        help="print the JSON Schema of job configurations",
        description="Print the JSON Schema of job configurations, for editors and other validators.",
    ).set_defaults(run=lambda _: _print_schema())
    commands.add_parser(
        "dispatcher",
        help="admit queued runs without serving the HTTP API",
        description="Admit queued runs without serving the HTTP API. Reads the same environment variables as the "
        "service.",
    ).set_defaults(run=lambda _: _dispatch())

    parsed = parser.parse_args(arguments)
    if getattr(parsed, "namespace", None) is not None and not parsed.server:
        validate.error("--namespace has no effect without --server")
    code: int = parsed.run(parsed)
    return code


def _add_validate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a JSON or YAML file; a folder, for all its .json, .yaml and .yml files; or - for standard input",
    )
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        dest="keys",
        metavar="NAME",
        help="also check this key of ConfigMaps, such as that of a ConfigMap mounted as a file; can be repeated",
    )
    parser.add_argument(
        "--allow-none",
        action="store_true",
        help="accept files without a job configuration; for commit hooks, which pass every changed file",
    )
    parser.add_argument(
        "--format",
        choices=("text", "github", "json"),
        default="text",
        help="text: one line per fault; github: annotations of a GitHub workflow; json: one list",
    )
    parser.add_argument(
        "--server",
        action="store_true",
        help="also check each definition's Job with a dry run on the API server of KUBECONFIG, or of the pod; "
        "nothing is stored",
    )
    parser.add_argument(
        "--namespace",
        metavar="NAME",
        help="the namespace of the dry run; default: SLIMFAAS_NAMESPACE, else the ConfigMap's, else the kubeconfig's",
    )


def _validate(parsed: argparse.Namespace) -> int:
    from app.cli.validate import Options, validate

    check = None
    if parsed.server:
        from app.cli.server_check import make_server_check
        from app.settings import SettingsError

        try:
            check = make_server_check(parsed.namespace)
        except SettingsError as error:
            print(error, file=sys.stderr)
            return 2
    return validate(parsed.files, Options(tuple(parsed.keys), parsed.allow_none, parsed.format), check)


def _print_schema() -> int:
    from schemas.configuration import schema_text

    print(schema_text(), end="")
    return 0


def _dispatch() -> int:
    from app.cli.dispatcher import dispatch

    return dispatch()
