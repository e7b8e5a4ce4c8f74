"""`slimfaas-jobs completion`: what a shell needs to complete commands, options, definitions and runs."""

import argparse
from collections.abc import Iterator

_OF_DEFINITIONS = ("run", "list", "status", "schedules")
"""Commands whose first word is a definition."""

_OF_RUNS = ("get", "logs", "wait", "cancel")
"""Commands whose first word is a run."""

_NAMES = {
    _OF_DEFINITIONS: "status -o name --retry-for 0 2>/dev/null",
    _OF_RUNS: "list -o name --retry-for 0 2>/dev/null",
}
"""What prints the first words of commands; the running service knows them."""


def completion(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return a script for a shell.

    Args:
        shell: `bash`, `zsh` or `fish`.
        parser: of the whole command line.
    """
    commands = {name: sorted(_options(command)) for name, command in _commands(parser)}
    choices = {name: words for name, command in _commands(parser) if (words := list(_choices(command)))}
    if shell == "fish":
        return _fish(commands, choices)
    bash = _bash(commands, choices, sorted(_options(parser)))
    return bash if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{bash}"


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))


def _choices(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield what the first word of a command may be, where it has a fixed list."""
    for action in parser._actions:
        if not action.option_strings and action.choices is not None:
            yield from action.choices


def _bash(commands: dict[str, list[str]], choices: dict[str, list[str]], options: list[str]) -> str:
    cases = "\n".join(f'    -*,{name}) words="{" ".join(own)}" ;;' for name, own in commands.items())
    cases += "".join(f'\n    *,{name}) words="{" ".join(words)}" ;;' for name, words in choices.items())
    for named, prints in _NAMES.items():
        # The program as it was called, which need not be on the PATH.
        call = f'words="$("${{COMP_WORDS[0]}}" {prints})"'
        cases += f"\n    {'|'.join(f'*,{name}' for name in named)})\n"
        cases += f'      if [ "$COMP_CWORD" -eq 2 ]; then {call}; fi ;;'
    return f"""\
_slimfaas_jobs() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{" ".join(commands)}"
    case "$word" in -*) words="{" ".join(options)}" ;; esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    return
  fi
  case "$word,${{COMP_WORDS[1]}}" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _slimfaas_jobs slimfaas-jobs
"""


def _fish(commands: dict[str, list[str]], choices: dict[str, list[str]]) -> str:
    lines = [f"complete -c slimfaas-jobs -n __fish_use_subcommand -f -a '{' '.join(commands)}'"]
    for name, options in commands.items():
        lines += [
            f"complete -c slimfaas-jobs -n '__fish_seen_subcommand_from {name}' -l {option.removeprefix('--')}"
            for option in options
        ]
    words = [(name, " ".join(own)) for name, own in choices.items()]
    words += [
        (" ".join(named), f"(set -l line (commandline -opc); $line[1] {prints})") for named, prints in _NAMES.items()
    ]
    lines += [
        f"complete -c slimfaas-jobs -n '__fish_seen_subcommand_from {names}' -f -a '{first}'" for names, first in words
    ]
    return "\n".join(lines) + "\n"
