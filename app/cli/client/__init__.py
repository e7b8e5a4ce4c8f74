"""The client's commands: their arguments. What they do is imported when one of them runs."""

import argparse
from textwrap import fill
from typing import TYPE_CHECKING

from app.cli.client import exit_codes

_SERVER = "the service's URL, such as http://slimfaas:5000; default: SLIMFAAS_URL"
_RUN = "a run, as NAME/ID or as NAME ID"
_EXIT_CODES = f"Exit codes:\n{exit_codes.TABLE}"
_COLUMNS = 78
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_SECONDS = 10 * 365 * 86400

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_client_commands(commands: "Commands") -> None:
    """Add the commands that call a running service."""
    _add_run(commands)
    _add_list(commands)
    get = _add(commands, "get", "show a run", "Show a run: what it does, and what it waits for.")
    _add_run_argument(get)
    _add_output(get, "json", "name")
    _add_logs(commands)
    _add_wait(commands)
    _add_cancel(commands)
    _add_schedules(commands)
    status = _add(
        commands,
        "status",
        "show definitions, their slots and queues",
        "Show the definitions that you may use, their slots, queues and dependencies.",
        usage="[NAME] [options]",
    )
    status.add_argument("name", nargs="?", metavar="NAME", help="only this definition")
    _add_output(status, "json", "name")


def _add_schedules(commands: "Commands") -> None:
    schedules = _add(
        commands,
        "schedules",
        "list, make, pause and delete schedules",
        "List the schedules of a definition, or of all. With --add, make one; everything after -- is the arguments of "
        "its runs. --suspend, --resume and --delete take one as NAME/ID.",
        usage="[NAME|NAME/ID] [options] [-- ARGS...]",
    )
    schedules.add_argument("name", nargs="?", metavar="NAME", help="the definition, or a schedule as NAME/ID")
    what = schedules.add_mutually_exclusive_group()
    what.add_argument("--add", metavar="CRON", help="make a schedule, such as '0 6 * * 1-5' or @daily")
    what.add_argument("--suspend", action="store_true", help="pause it")
    what.add_argument("--resume", action="store_true", help="go on with it")
    what.add_argument("--delete", action="store_true", help="delete it and its queued runs; the others stay")
    schedules.add_argument("--time-zone", metavar="ZONE", help="of CRON, such as Europe/Paris; default: UTC")
    _add_request(schedules)
    _add_output(schedules, "json", "name")


def _add_run(commands: "Commands") -> None:
    run = _add(
        commands,
        "run",
        "start a run",
        "Start a run of a definition. Everything after -- is its arguments. The request carries an Idempotency-Key, "
        "so that it starts one run even if it has to be repeated.",
        usage="NAME [options] [-- ARGS...]",
    )
    run.add_argument("name", metavar="NAME", help="the definition")
    _add_request(run)
    run.add_argument("--dry-run", action="store_true", help="ask whether the run would be accepted, and show its Job")
    run.add_argument("--wait", action="store_true", help="wait until the run ends, and exit with its exit code")
    run.add_argument("-f", "--follow", action="store_true", help="also print its log")
    _add_timeout(run)
    _add_output(run, "json", "name")


def _add_request(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arg", action="append", dest="args", metavar="ARG", help="an argument; can be repeated")
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        type=_variable,
        metavar="NAME[=VALUE]",
        help="an environment variable, with the value of your own without =VALUE; can be repeated",
    )
    parser.add_argument("--image", help="another image that the definition permits")
    parser.add_argument(
        "--body",
        metavar="FILE",
        help="a JSON file with any fields of a request, such as DependsOn; -: standard input",
    )
    parser.add_argument(
        "--key", type=_key, help="the Idempotency-Key: the same key again gets the same one; default: a random one"
    )


def _add_list(commands: "Commands") -> None:
    listed = _add(
        commands,
        "list",
        "list runs, newest first",
        "List the runs of a definition, or of all that you may list, newest first.",
        usage="[NAME] [options]",
    )
    listed.add_argument("name", nargs="?", metavar="NAME", help="the definition; default: all")
    listed.add_argument(
        "--status", action="append", default=[], help="only runs with this status, such as Queued; can be repeated"
    )
    listed.add_argument(
        "--finished-since", type=_duration, metavar="TIME", help="only runs that ended within the last 30m, 24h"
    )
    listed.add_argument(
        "--limit", type=_count, default=50, metavar="N", help="at most N of each definition; default: 50"
    )
    _add_output(listed, "json", "name")


def _add_logs(commands: "Commands") -> None:
    logs = _add(
        commands,
        "logs",
        "print the log of a run",
        "Print what a run has printed. With -f, begin with its first attempt and go on until the run ends; a log that "
        "breaks off is continued where it was. Without -f, print the log of the last attempt.",
    )
    _add_run_argument(logs)
    logs.add_argument("-f", "--follow", action="store_true", help="go on with new lines, until the run ends")
    logs.add_argument("--tail", type=_count, metavar="N", help="only the last N lines; with -f: of the last attempt")
    logs.add_argument("--since", type=_duration, metavar="TIME", help="only the last 30s, 10m, 2h; not with -f")
    logs.add_argument("--attempt", type=_count, metavar="N", help="of the N-th attempt, from 1")
    logs.add_argument("--container", metavar="NAME", help="of this container; default: the run's own")
    _add_timeout(logs)


def _add_wait(commands: "Commands") -> None:
    wait = _add(
        commands,
        "wait",
        "wait until a run ends",
        "Wait until a run ends, also through restarts of the service, and exit with the run's exit code.",
    )
    _add_run_argument(wait)
    _add_timeout(wait)
    _add_output(wait, "json", "name")


def _add_cancel(commands: "Commands") -> None:
    cancel = _add(
        commands,
        "cancel",
        "cancel runs",
        "Cancel queued and active runs, and remove finished ones. --queued deletes all queued runs of a definition.",
        usage="RUN... [options]",
    )
    cancel.add_argument("run_id", nargs="+", metavar="RUN", help=f"{_RUN}; several as NAME/ID")
    cancel.add_argument("--queued", action="store_true", help="RUN is a definition: delete its queued runs")


def _add(
    commands: "Commands", name: str, summary: str, text: str, usage: str = "RUN [options]"
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=fill(text, _COLUMNS),
        usage=f"slimfaas-jobs {name} {usage}",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_argument_group("service")
    where.add_argument("--server", metavar="URL", help=_SERVER)
    token = where.add_mutually_exclusive_group()
    token.add_argument("--token-file", metavar="FILE", help="a file with a bearer token; default: SLIMFAAS_TOKEN_FILE")
    token.add_argument(
        "--token-command",
        metavar="COMMAND",
        help="a command that prints a bearer token, or an ExecCredential; default: SLIMFAAS_TOKEN_COMMAND",
    )
    where.add_argument("--ca-file", metavar="FILE", help="authorities to trust, in PEM; default: SLIMFAAS_CA_FILE")
    where.add_argument(
        "--retry-for",
        type=_duration,
        metavar="TIME",
        help="how long to try again while the service can't answer; default: 5s to read, 1m to start and cancel, 5m to "
        "wait and follow",
    )
    parser.set_defaults(run=lambda parsed: _call(name, parsed), fail=parser.error)
    return parser


def _add_run_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_id", nargs="+", metavar="RUN", help=_RUN)


def _add_output(parser: argparse.ArgumentParser, *formats: str) -> None:
    parser.add_argument("-o", "--output", choices=formats, help="for programs: JSON as the service's, or names only")


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=_duration, metavar="TIME", help="how long to wait, such as 30s, 10m, 2h; default: no limit"
    )


def _call(name: str, parsed: argparse.Namespace) -> int:
    from app.cli.client.commands import call

    return call(name, parsed)


def _duration(text: str) -> int:
    """Read a time of the command line, in seconds."""
    number, unit = (text[:-1], text[-1]) if text[-1:].isalpha() else (text, "")
    if not (number.isascii() and number.isdigit() and unit in _UNITS and len(number) < 10):
        raise argparse.ArgumentTypeError("must be a time such as 30s, 10m or 2h")
    return min(int(number) * _UNITS[unit], _MOST_SECONDS)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:10]) < 2**31):
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)


def _key(text: str) -> str:
    if not 1 <= len(text) <= 255 or not all("!" <= character <= "~" and character not in '",\\' for character in text):
        raise argparse.ArgumentTypeError('must be 1 to 255 visible ASCII characters, without ", \\ and comma')
    return text


def _variable(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError("must be NAME=VALUE, or NAME")
    return name, value if equals else None
