"""A client of SlimFaas Jobs, with nothing but the standard library (docs/client.md)."""

from slimfaas_jobs.client import Client
from slimfaas_jobs.errors import (
    InvalidResponseError,
    JobsError,
    NotFoundError,
    RefusedError,
    RequestError,
    RunDeletedError,
    TokenError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
)
from slimfaas_jobs.models import Definition, Dependency, EmptiedQueue, Run, Schedule, StartedRun
from slimfaas_jobs.tokens import token_from_command, token_from_file

__all__ = [
    "Client",
    "Definition",
    "Dependency",
    "EmptiedQueue",
    "InvalidResponseError",
    "JobsError",
    "NotFoundError",
    "RefusedError",
    "RequestError",
    "Run",
    "RunDeletedError",
    "Schedule",
    "StartedRun",
    "TokenError",
    "UnavailableError",
    "UnreachableError",
    "WaitTimeoutError",
    "token_from_command",
    "token_from_file",
]
