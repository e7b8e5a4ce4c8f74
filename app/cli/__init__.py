"""`slimfaas-jobs`: the command line.

Each command imports what it needs only when it runs: a check of a file, in an editor or a commit hook, must not wait
until the web framework and the Kubernetes client are imported (docs/adr/0010-checking-configurations.md).
"""

import argparse
import sys
from collections.abc import Sequence

from app.cli.client import add_client_commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line; `None`: this process's own.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="slimfaas-jobs", description="Start Kubernetes Jobs over HTTP.")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND")
    add_client_commands(commands)
    validate = commands.add_parser(
        "validate",
        help="check job configurations",
        description="Check job configurations: JSON files, and in Kubernetes manifests all ConfigMaps with a "
        "configuration and all CronJobs with the annotation SlimFaas/Job. Print each fault with its file, its object "
        "and its JSON pointer.",
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
    template = commands.add_parser(
        "template",
        help="make a configuration of Jobs that you have",
        description="Print a job configuration with a definition for each Job and CronJob of a Kubernetes manifest. "
        "What the service itself sets on each run is left out, and named on standard error.",
    )
    template.add_argument("file", metavar="FILE", help="a manifest in YAML or JSON; or - for standard input")
    template.set_defaults(run=_print_template)
    serve = commands.add_parser(
        "serve",
        help="serve the HTTP API, and admit queued runs",
        description="Serve the HTTP API, and admit queued runs unless SLIMFAAS_DISPATCHER is off. The settings are "
        "environment variables; GUNICORN_CMD_ARGS has further options of gunicorn, the server.",
    )
    _add_serve_arguments(serve)
    serve.set_defaults(run=_serve)
    commands.add_parser(
        "dispatcher",
        help="admit queued runs without serving the HTTP API",
        description="Admit queued runs without serving the HTTP API. Reads the same environment variables as the "
        "service.",
    ).set_defaults(run=lambda _: _dispatch())
    completion = commands.add_parser(
        "completion",
        help="print a completion script for your shell",
        description="Print a script that completes commands, options, definitions and runs. In bash: "
        'eval "$(slimfaas-jobs completion bash)".',
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    completion.set_defaults(run=lambda parsed: _print_completion(parsed.shell, parser))
    commands.add_parser("version", help="print the version", description="Print the version.").set_defaults(
        run=lambda _: _print_version()
    )

    given, program_arguments = _split(sys.argv[1:] if arguments is None else arguments)
    parsed = parser.parse_args(given)
    if program_arguments is not None:
        parsed.args = [*(parsed.args or ()), *program_arguments]
    if parsed.version:
        return _print_version()
    if "run" not in parsed:
        parser.print_help(sys.stderr)
        return 2
    if getattr(parsed, "namespace", None) is not None and not parsed.server:
        validate.error("--namespace has no effect without --server")
    code: int = parsed.run(parsed)
    return code


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str] | None]:
    """Split off what follows `--` in `run` and `schedules`: the arguments of runs, whatever they look like.

    argparse would leave the `--` in or out, depending on Python's version.
    """
    if list(arguments[:1]) not in (["run"], ["schedules"]) or "--" not in arguments:
        return arguments, None
    at = list(arguments).index("--")
    return arguments[:at], arguments[at + 1 :]


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
        "--from-slimfaas",
        action="store_true",
        help="also warn of what means something else in SlimFaas",
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


def _add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--bind",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="where to listen: 127.0.0.1:5000, [::1]:5000 or unix:/path; can be repeated; default: every address",
    )
    where.add_argument("--port", type=_port, metavar="N", help="the port on every address; default: PORT, else 5000")
    parser.add_argument(
        "--workers", type=_count, metavar="N", help="how many processes serve; default: WEB_CONCURRENCY, else 1"
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1000):
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 1000")
    return int(text)


def _serve(parsed: argparse.Namespace) -> int:
    from app.cli.serve import serve

    return serve(parsed.bind, parsed.port, parsed.workers)


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
    return validate(
        parsed.files, Options(tuple(parsed.keys), parsed.allow_none, parsed.format, parsed.from_slimfaas), check
    )


def _print_template(parsed: argparse.Namespace) -> int:
    from app.cli.template import print_configuration

    return print_configuration(parsed.file)


def _print_completion(shell: str, parser: argparse.ArgumentParser) -> int:
    from app.cli.client.completion import completion

    print(completion(shell, parser), end="")
    return 0


def _print_version() -> int:
    from importlib import metadata

    try:
        print("slimfaas-jobs", metadata.version("slimfaas-jobs"))
    except metadata.PackageNotFoundError:
        print("slimfaas-jobs runs from a source tree that is not installed, so it has no version", file=sys.stderr)
        return 1
    return 0


def _print_schema() -> int:
    from schemas.configuration import schema_text

    print(schema_text(), end="")
    return 0


def _dispatch() -> int:
    from app.cli.dispatcher import dispatch

    return dispatch()
