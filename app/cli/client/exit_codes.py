"""The exit codes of the client's commands: docs/terminal.md explains them."""

SUCCESS = 0
FAILED = 1
"""The run has failed without an exit code of its own."""
USAGE = 2
REFUSED = 121
NOT_FOUND = 122
CANCELLED = 123
TIMED_OUT = 124
UNREACHABLE = 125
INTERRUPTED = 130

TABLE = f"""\
  {SUCCESS:<5}success; with --wait, --follow and wait: the run has succeeded
  N    with --wait, --follow and wait: the exit code of the run's container
  {FAILED:<5}the run has failed without an exit code of its own
  {USAGE:<5}invalid arguments
  {REFUSED:<5}refused by the service, or there is no token to call it with
  {NOT_FOUND:<5}no such definition, run or attempt
  {CANCELLED:<5}the run was cancelled before it ended
  {TIMED_OUT:<5}--timeout is over; the run goes on
  {UNREACHABLE:<5}the service can't be reached or can't answer
  {INTERRUPTED:<5}Ctrl-C; the run goes on"""
