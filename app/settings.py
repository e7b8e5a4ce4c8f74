"""The settings of one process. This is the only module that reads the environment."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from schemas.files import UnreadableError, read_document
from schemas.manifests import CONFIGMAP_KEYS

_CONFIGURATION_FILE_NAME = "SLIMFAAS_JOBS_CONFIGURATION_FILE"

_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"

# The names that Kubernetes allows, or `*` alone.
_SERVICE_ACCOUNT = re.compile(
    rf"(?P<namespace>{_DNS_LABEL}|\*):(?P<name>[a-z0-9](?:[-.a-z0-9]{{0,251}}[a-z0-9])?|\*)", re.ASCII
)

Network = IPv4Network | IPv6Network


class SettingsError(Exception):
    """The environment is invalid.

    The message has one line per fault. Each names the variable and what it must be, and never contains its value,
    which may be a secret.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one process.

    Attributes:
        configuration: the job configuration, as JSON.
        configuration_file: the file to watch for a new configuration (`SLIMFAAS_JOBS_CONFIGURATION_FILE`); `None`: the
            configuration came from another variable.
        kubeconfig: path of a kubeconfig (`KUBECONFIG`); `None`: use the pod's own credentials.
        namespace: the namespace of the runs (`SLIMFAAS_NAMESPACE`); `None`: the pod's own namespace, else the
            kubeconfig context's, else `default`.
        dispatcher: whether this process also dispatches (`SLIMFAAS_DISPATCHER`, `on` or `off`).
        trusted_networks: callers in these networks may use private definitions (`SLIMFAAS_TRUSTED_NETWORKS`, CIDR
            blocks separated by commas).
        trusted_proxies: proxies whose forwarding headers are believed (`SLIMFAAS_TRUSTED_PROXIES`, CIDR blocks
            separated by commas).
        trusted_service_accounts: accounts whose tokens are trusted, as `(namespace, name)`, where `*` matches any
            (`SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS`, `namespace:name` separated by commas); empty: tokens are ignored.
        token_audience: the audience that tokens must be issued for (`SLIMFAAS_TOKEN_AUDIENCE`).
        hide_private: whether untrusted callers get the same response for a private definition as for an unknown one
            (`SLIMFAAS_HIDE_PRIVATE`, `true` or `false`).
        max_streams: how many requests may wait for a run or read a log at the same time. gunicorn gets one more thread
            for each (`SLIMFAAS_MAX_STREAMS`).
        max_queued: how many runs of all definitions may be queued (`SLIMFAAS_MAX_QUEUED`); `None`: no limit.
        instance: the name of this pod or machine, for the Lease and for Events (`HOSTNAME`).
        port: the port of the HTTP server (`PORT`).
        log_format: the format of log lines (`SLIMFAAS_LOG_FORMAT`, `text` or `json`).
        traces: whether to record spans: a collector is configured (`OTEL_EXPORTER_OTLP_ENDPOINT` or
            `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) and `OTEL_SDK_DISABLED` is not `true`.
        log_level: the lowest level that is logged (`SLIMFAAS_LOG_LEVEL`, `debug`, `info`, `warning` or `error`), in
            upper case.
    """

    configuration: str
    configuration_file: Path | None = None
    kubeconfig: str | None = None
    namespace: str | None = None
    dispatcher: bool = True
    trusted_networks: tuple[Network, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    trusted_service_accounts: tuple[tuple[str, str], ...] = ()
    token_audience: str = "slimfaas-jobs"  # noqa: S105 - the name of an audience is no secret
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
            SettingsError: variables are missing, contradict each other or are invalid; it names all of them.
        """
        given = _drop_empty(environment)
        faults: list[str] = []
        document, values = "", {}
        try:
            document = _read_configuration(given)
        except SettingsError as error:
            faults.append(str(error))
        try:
            values = _load(_EnvironmentSchema(), given)
        except SettingsError as error:
            faults.append(str(error))
        if faults:
            raise SettingsError("\n".join(faults))
        return cls(
            configuration=document,
            configuration_file=Path(file) if (file := given.get(_CONFIGURATION_FILE_NAME)) else None,
            traces=_read_traces(given),
            **values,
        )


def read_cluster_settings(
    namespace: str | None = None, environment: Mapping[str, str] = os.environ
) -> tuple[str | None, str | None]:
    """Read only the settings that say where the API server is.

    Args:
        namespace: replaces `SLIMFAAS_NAMESPACE`; `None`: use the variable.
        environment: the variables.

    Returns:
        `kubeconfig` and `namespace`, as in `Settings`.

    Raises:
        SettingsError: the namespace is invalid.
    """
    given = {**environment, **({} if namespace is None else {"SLIMFAAS_NAMESPACE": namespace})}
    values = _load(_EnvironmentSchema(only=("kubeconfig", "namespace")), _drop_empty(given))
    return values.get("kubeconfig"), values.get("namespace")


def _drop_empty(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with a value: manifests often set the others to an empty string."""
    return {name: text for name, text in environment.items() if text}


def _load(schema: Schema, environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        values: dict[str, Any] = schema.load(environment)
    except ValidationError as error:
        faults = [f"{name} {message}" for name, (message,) in error.messages_dict.items()]
        raise SettingsError("\n".join(faults)) from error
    return values


def _read_configuration(environment: Mapping[str, str]) -> str:
    names = (*CONFIGMAP_KEYS, _CONFIGURATION_FILE_NAME)
    given = [name for name in names if name in environment]
    if not given:
        raise SettingsError(f"no job configuration: set one of {', '.join(names)}")
    if len(given) > 1:
        raise SettingsError(f"the job configuration is set more than once: keep one of {', '.join(given)}")
    value = environment[given[0]]
    if given[0] != _CONFIGURATION_FILE_NAME:
        return value
    try:
        return read_document(Path(value))
    except UnreadableError as error:
        raise SettingsError(f"{_CONFIGURATION_FILE_NAME} cannot be read: {error}") from error


def _read_traces(environment: Mapping[str, str]) -> bool:
    has_collector = any(f"OTEL_EXPORTER_OTLP_{part}ENDPOINT" in environment for part in ("", "TRACES_"))
    return has_collector and environment.get("OTEL_SDK_DISABLED", "").lower() != "true"


class _Choice(fields.Field[Any]):
    """One of a few words, in any case; the value is what the word stands for."""

    def __init__(self, name: str, choices: Mapping[str, object]) -> None:
        *first, last = choices
        super().__init__(data_key=name, error_messages={"invalid": f"must be {', '.join(first)} or {last}"})
        self._choices = choices

    def _deserialize(self, value: str, *_: Any, **__: Any) -> Any:
        if value.lower() not in self._choices:
            raise self.make_error("invalid")
        return self._choices[value.lower()]


class _CommaSeparated(fields.Field[tuple[Any, ...]]):
    """Items separated by commas; spaces around them and empty items are ignored."""

    def __init__(self, name: str, parse: Callable[[str], object], must_be: str) -> None:
        super().__init__(data_key=name, error_messages={"invalid": must_be})
        self._parse = parse

    def _deserialize(self, value: str, *_: Any, **__: Any) -> tuple[Any, ...]:
        try:
            return tuple(self._parse(text.strip()) for text in value.split(",") if text.strip())
        except ValueError as error:
            raise self.make_error("invalid") from error


def _text(name: str, pattern: str, must_be: str) -> fields.String:
    return fields.String(data_key=name, validate=validate.Regexp(rf"{pattern}\Z", re.ASCII, error=must_be))


def _integer(name: str, minimum: int, maximum: int) -> fields.Integer:
    must_be = f"must be a whole number from {minimum} to {maximum}"
    in_range = validate.Range(minimum, maximum, error=must_be)
    return fields.Integer(data_key=name, validate=in_range, error_messages={"invalid": must_be})


def _parse_network(text: str) -> Network:
    network = ip_network(text)
    first = network.network_address
    # The addresses of ::ffff:0:0/96 are IPv4 addresses, and so are its networks.
    if isinstance(first, IPv6Address) and first.ipv4_mapped is not None and network.prefixlen >= 96:
        return IPv4Network((first.ipv4_mapped, network.prefixlen - 96))
    return network


def _parse_service_account(text: str) -> tuple[str, str]:
    match = _SERVICE_ACCOUNT.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return match["namespace"], match["name"]


_NETWORKS = "must be a list of CIDR blocks such as 10.0.0.0/8 (no bits set after the prefix), separated by commas"


class _EnvironmentSchema(Schema):
    """The variables that are read one by one. Each field fills the attribute of `Settings` that has the same name."""

    class Meta:
        unknown = EXCLUDE

    kubeconfig = fields.String(data_key="KUBECONFIG")
    namespace = _text("SLIMFAAS_NAMESPACE", _DNS_LABEL, "must be the name of a Kubernetes namespace (a DNS label)")
    dispatcher = _Choice("SLIMFAAS_DISPATCHER", {"on": True, "off": False})
    trusted_networks = _CommaSeparated("SLIMFAAS_TRUSTED_NETWORKS", _parse_network, _NETWORKS)
    trusted_proxies = _CommaSeparated("SLIMFAAS_TRUSTED_PROXIES", _parse_network, _NETWORKS)
    trusted_service_accounts = _CommaSeparated(
        "SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS",
        _parse_service_account,
        "must be a list of ServiceAccounts, each as namespace:name, separated by commas",
    )
    token_audience = _text(
        "SLIMFAAS_TOKEN_AUDIENCE", "[!-~]{1,253}", "must be 1 to 253 visible ASCII characters without spaces"
    )
    hide_private = _Choice("SLIMFAAS_HIDE_PRIVATE", {"true": True, "false": False})
    max_streams = _integer("SLIMFAAS_MAX_STREAMS", 0, 1000)  # one Python process serves no more threads well
    max_queued = _integer("SLIMFAAS_MAX_QUEUED", 1, 999_999_999)
    instance = fields.String(data_key="HOSTNAME")
    port = _integer("PORT", 0, 65535)
    log_format = _Choice("SLIMFAAS_LOG_FORMAT", {"text": "text", "json": "json"})
    log_level = _Choice("SLIMFAAS_LOG_LEVEL", {level.lower(): level for level in ("DEBUG", "INFO", "WARNING", "ERROR")})
