"""How one process of the service is set up: the only reader of the environment."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Literal, TypeVar

from schemas.files import UnreadableError, read_document
from schemas.manifests import CONFIGMAP_KEYS

_CONFIGURATION_FILE_NAME = "SLIMFAAS_JOBS_CONFIGURATION_FILE"

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)

# The names that Kubernetes allows, or a star alone.
_SERVICE_ACCOUNT = re.compile(
    rf"(?P<namespace>{_NAMESPACE.pattern}|\*):(?P<name>[a-z0-9]([-.a-z0-9]{{0,251}}[a-z0-9])?|\*)", re.ASCII
)

_AUDIENCE = re.compile(r"[!-~]{1,253}")
_MOST_STREAMS = 1000
"""More threads than that are beyond what one process of Python serves well."""

_T = TypeVar("_T")

Network = IPv4Network | IPv6Network


class SettingsError(Exception):
    """The environment says something that can't be.

    The message has a line for each fault, which names the variable, never its value.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one process.

    Attributes:
        configuration: the job configuration, as JSON.
        configuration_file: the file that it was read from (`SLIMFAAS_JOBS_CONFIGURATION_FILE`), to be followed; `None`:
            it came from the environment.
        kubeconfig: path of a kubeconfig (`KUBECONFIG`); `None`: the pod's own credentials.
        namespace: where runs are made (`SLIMFAAS_NAMESPACE`); `None`: the pod's own namespace, else the kubeconfig
            context's, else `default`.
        dispatcher: whether this process also dispatches (`SLIMFAAS_DISPATCHER`, `on` or `off`).
        trusted_networks: whose callers may use private definitions (`SLIMFAAS_TRUSTED_NETWORKS`, CIDRs by commas).
        trusted_proxies: whose forwarding headers are believed (`SLIMFAAS_TRUSTED_PROXIES`, CIDRs by commas).
        trusted_service_accounts: whose tokens are trusted, as `(namespace, name)`, either of them `*` for any
            (`SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS`, `namespace:name` by commas); none: tokens aren't looked at.
        token_audience: whom tokens must be meant for (`SLIMFAAS_TOKEN_AUDIENCE`).
        hide_private: whether a private definition looks to strangers as if there were none (`SLIMFAAS_HIDE_PRIVATE`,
            `true` or `false`).
        max_streams: how many calls at once may wait for a run or read a log, for each of which gunicorn has a thread
            (`SLIMFAAS_MAX_STREAMS`).
        max_queued: how many runs may wait in all (`SLIMFAAS_MAX_QUEUED`); `None`: any number.
        instance: this pod's or machine's name, for the lease and the Events (`HOSTNAME`).
        port: where HTTP is served (`PORT`).
        log_format: how log lines look (`SLIMFAAS_LOG_FORMAT`, `text` or `json`).
        traces: whether spans are made: there is a collector for them (`OTEL_EXPORTER_OTLP_ENDPOINT`, or the same with
            `_TRACES_`) and nobody has turned them off (`OTEL_SDK_DISABLED`).
        log_level: what is worth a line (`SLIMFAAS_LOG_LEVEL`, `debug`, `info`, `warning` or `error`), in capitals.
    """

    configuration: str
    configuration_file: Path | None = None
    kubeconfig: str | None = None
    namespace: str | None = None
    dispatcher: bool = True
    trusted_networks: tuple[Network, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    trusted_service_accounts: tuple[tuple[str, str], ...] = ()
    token_audience: str = "slimfaas-jobs"  # noqa: S105 - the name of an audience, known to all
    hide_private: bool = False
    max_streams: int = 25
    max_queued: int | None = None
    instance: str = "slimfaas-jobs"
    port: int = 5000
    log_format: Literal["text", "json"] = "text"
    log_level: str = "INFO"
    traces: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings.

        Raises:
            SettingsError: variables are missing, given twice, or can't be read; it names all of them.
        """
        faults: list[str] = []

        def read(reader: Callable[[Mapping[str, str]], _T], instead: _T) -> _T:
            try:
                return reader(environment)
            except SettingsError as error:
                faults.append(str(error))
                return instead

        settings = cls(
            configuration=read(_read_configuration, ""),
            configuration_file=Path(file) if (file := environment.get(_CONFIGURATION_FILE_NAME)) else None,
            kubeconfig=environment.get("KUBECONFIG") or None,
            namespace=read(_read_namespace, None),
            dispatcher=read(_read_dispatcher, True),
            trusted_networks=read(partial(_read_networks, "SLIMFAAS_TRUSTED_NETWORKS"), ()),
            trusted_proxies=read(partial(_read_networks, "SLIMFAAS_TRUSTED_PROXIES"), ()),
            trusted_service_accounts=read(_read_trusted_service_accounts, ()),
            token_audience=read(_read_token_audience, ""),
            hide_private=read(_read_hide_private, False),
            max_streams=read(_read_max_streams, 0),
            max_queued=read(_read_max_queued, None),
            instance=environment.get("HOSTNAME") or "slimfaas-jobs",
            port=read(_read_port, 0),
            log_format=read(_read_log_format, "text"),
            log_level=read(_read_log_level, ""),
            traces=_read_traces(environment),
        )
        if faults:
            raise SettingsError("\n".join(faults))
        return settings


def read_cluster_settings(
    namespace: str | None = None, environment: Mapping[str, str] = os.environ
) -> tuple[str | None, str | None]:
    """Read of the settings only where the API server is.

    Args:
        namespace: takes the place of `SLIMFAAS_NAMESPACE`; `None`: doesn't.
        environment: the variables.

    Returns:
        `kubeconfig` and `namespace`, as in `Settings`.

    Raises:
        SettingsError: the namespace can't be one.
    """
    given = environment if namespace is None else {"SLIMFAAS_NAMESPACE": namespace}
    return environment.get("KUBECONFIG") or None, _read_namespace(given)


def _read_port(environment: Mapping[str, str]) -> int:
    text = environment.get("PORT") or "5000"
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise SettingsError("PORT is not a port number")
    return int(text)


def _read_log_format(environment: Mapping[str, str]) -> Literal["text", "json"]:
    match (environment.get("SLIMFAAS_LOG_FORMAT") or "text").lower():
        case "text":
            return "text"
        case "json":
            return "json"
        case _:
            raise SettingsError("SLIMFAAS_LOG_FORMAT is neither text nor json")


def _read_traces(environment: Mapping[str, str]) -> bool:
    named = any(environment.get(f"OTEL_EXPORTER_OTLP_{part}ENDPOINT") for part in ("", "TRACES_"))
    return named and environment.get("OTEL_SDK_DISABLED", "").lower() != "true"


def _read_log_level(environment: Mapping[str, str]) -> str:
    level = (environment.get("SLIMFAAS_LOG_LEVEL") or "info").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError("SLIMFAAS_LOG_LEVEL is not debug, info, warning or error")
    return level


def _read_max_streams(environment: Mapping[str, str]) -> int:
    text = environment.get("SLIMFAAS_MAX_STREAMS") or "25"
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= _MOST_STREAMS):
        raise SettingsError(f"SLIMFAAS_MAX_STREAMS is not a number from 0 to {_MOST_STREAMS}")
    return int(text)


def _read_max_queued(environment: Mapping[str, str]) -> int | None:
    text = environment.get("SLIMFAAS_MAX_QUEUED") or None
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= 1):
        raise SettingsError("SLIMFAAS_MAX_QUEUED is not a number from 1 to 999999999")
    return int(text)


def _read_namespace(environment: Mapping[str, str]) -> str | None:
    name = environment.get("SLIMFAAS_NAMESPACE") or None
    if name is not None and not _NAMESPACE.fullmatch(name):
        raise SettingsError("SLIMFAAS_NAMESPACE is not the name of a namespace (a DNS label)")
    return name


def _read_configuration(environment: Mapping[str, str]) -> str:
    names = (*CONFIGMAP_KEYS, _CONFIGURATION_FILE_NAME)
    given = [name for name in names if environment.get(name)]
    if not given:
        raise SettingsError(f"no job configuration: set one of {', '.join(names)}")
    if len(given) > 1:
        raise SettingsError(f"the job configuration is given more than once: {', '.join(given)}")
    value = environment[given[0]]
    if given[0] != _CONFIGURATION_FILE_NAME:
        return value
    try:
        return read_document(Path(value))
    except UnreadableError as error:
        raise SettingsError(f"{_CONFIGURATION_FILE_NAME} can't be read: {error}") from error


def _read_dispatcher(environment: Mapping[str, str]) -> bool:
    text = (environment.get("SLIMFAAS_DISPATCHER") or "on").lower()
    if text not in ("on", "off"):
        raise SettingsError("SLIMFAAS_DISPATCHER is neither on nor off")
    return text == "on"


def _list_of(name: str, environment: Mapping[str, str]) -> list[str]:
    texts = [text.strip() for text in (environment.get(name) or "").split(",")]
    return [text for text in texts if text]


def _read_networks(name: str, environment: Mapping[str, str]) -> tuple[Network, ...]:
    try:
        return tuple(_unfold(ip_network(text)) for text in _list_of(name, environment))
    except ValueError as error:
        raise SettingsError(f"{name} is not a list of networks like 10.0.0.0/8, separated by commas") from error


def _unfold(network: Network) -> Network:
    """Addresses of `::ffff:0:0/96` are IPv4 addresses, and so are its networks."""
    first = network.network_address
    if isinstance(first, IPv6Address) and first.ipv4_mapped is not None and network.prefixlen >= 96:
        return IPv4Network((first.ipv4_mapped, network.prefixlen - 96))
    return network


def _read_trusted_service_accounts(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    name = "SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS"
    found = [_SERVICE_ACCOUNT.fullmatch(text) for text in _list_of(name, environment)]
    if None in found:
        raise SettingsError(f"{name} is not a list of ServiceAccounts like namespace:name, separated by commas")
    return tuple((match["namespace"], match["name"]) for match in found if match)


def _read_token_audience(environment: Mapping[str, str]) -> str:
    audience = environment.get("SLIMFAAS_TOKEN_AUDIENCE") or "slimfaas-jobs"
    if not _AUDIENCE.fullmatch(audience):
        raise SettingsError("SLIMFAAS_TOKEN_AUDIENCE is not a word of at most 253 visible ASCII characters")
    return audience


def _read_hide_private(environment: Mapping[str, str]) -> bool:
    text = (environment.get("SLIMFAAS_HIDE_PRIVATE") or "false").lower()
    if text not in ("true", "false"):
        raise SettingsError("SLIMFAAS_HIDE_PRIVATE is neither true nor false")
    return text == "true"
