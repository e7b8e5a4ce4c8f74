"""`slimfaas-jobs`: the command line.

It stands outside of `app` because a check of a file, in an editor or a commit hook, must not wait for the web framework
and the Kubernetes client to be imported: each command imports what it needs when it is run (docs/adr/0010).
"""

import argparse
import sys
from collections.abc import Sequence


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
        "one. Prints each fault with its file, its ConfigMap and its JSON pointer.",
        epilog="Exit codes: 0 no fault, 1 faults or nothing to check, 2 wrong usage, 3 no answer from the API server.",
    )
    validate.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="JSON or YAML; a folder: every .json, .yaml and .yml file in it; - reads the standard input",
    )
    validate.add_argument(
        "--key",
        action="append",
        default=[],
        dest="keys",
        metavar="NAME",
        help="a further key of ConfigMaps that holds a configuration, as one mounted as a file may have; repeatable",
    )
    validate.add_argument(
        "--allow-none",
        action="store_true",
        help="files that hold no configuration are right, too; for commit hooks, which give every changed file",
    )
    validate.add_argument(
        "--format",
        choices=("text", "github", "json"),
        default="text",
        help="text: a line for each fault; github: annotations of a GitHub workflow; json: one list",
    )
    validate.add_argument(
        "--server",
        action="store_true",
        help="also ask the API server that KUBECONFIG names, or the pod's own, whether it would accept each "
        "definition's Job (dry run: nothing is stored)",
    )
    validate.add_argument(
        "--namespace",
        metavar="NAME",
        help="where to ask; else SLIMFAAS_NAMESPACE, else the ConfigMap's own, else the kubeconfig's",
    )
    validate.set_defaults(run=_validate)

    schema = commands.add_parser(
        "schema",
        help="print the JSON Schema of configurations",
        description="Print the JSON Schema of job configurations, for editors and other validators.",
    )
    schema.set_defaults(run=lambda _: _print_schema())

    dispatcher = commands.add_parser(
        "dispatcher",
        help="admit queued runs, without serving HTTP",
        description="Admit queued runs, without serving HTTP. The settings are the same environment variables.",
    )
    dispatcher.set_defaults(run=lambda _: _dispatch())

    parsed = parser.parse_args(arguments)
    if getattr(parsed, "namespace", None) is not None and not parsed.server:
        validate.error("--namespace goes with --server")
    code: int = parsed.run(parsed)
    return code


def _validate(parsed: argparse.Namespace) -> int:
    from app.cli.validate import Options, validate

    ask = None
    if parsed.server:
        from app.cli.server_check import ask_servers
        from app.settings import SettingsError

        try:
            ask = ask_servers(parsed.namespace)
        except SettingsError as error:
            print(error, file=sys.stderr)
            return 2
    return validate(parsed.files, Options(tuple(parsed.keys), parsed.allow_none, parsed.format), ask)


def _print_schema() -> int:
    from schemas.configuration import schema_text

    print(schema_text(), end="")
    return 0


def _dispatch() -> int:
    from app.cli.dispatcher import dispatch

    return dispatch()
