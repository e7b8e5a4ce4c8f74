"""The settings of one process. This is the only module that reads the environment."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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

DEFAULT_MAX_QUEUED = 10_000
"""The pod of the manifests has room for this many queued runs."""

_DEFAULT_MAX_QUEUED_BYTES = 256 * 2**20
"""How many bytes queued runs may take in etcd: an eighth of the size that etcd has by default
(https://etcd.io/docs/v3.5/op-guide/maintenance/#space-quota)."""

DEFAULT_START_ERROR_TIMEOUT_SECONDS = 600
"""Time for somebody to push an image or to create a Secret after the run that needs it."""

_DEFAULT_PORT = 5000

_SCRIPT_NAME = (
    "gunicorn would answer every path without this prefix with 500; have the proxy remove the prefix, and name it in "
    "SLIMFAAS_PATH_PREFIX"
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
        cronjob_definitions: whether suspended CronJobs with the annotation `SlimFaas/Job` are definitions
            (`SLIMFAAS_CRONJOB_DEFINITIONS`, `on` or `off`).
        trusted_networks: callers in these networks may use private definitions (`SLIMFAAS_TRUSTED_NETWORKS`, CIDR
            blocks separated by commas).
        trusted_proxies: proxies whose forwarding headers are believed (`SLIMFAAS_TRUSTED_PROXIES`, CIDR blocks
            separated by commas).
        allowed_origins: the origins of the web pages that may use the service, besides its own
            (`SLIMFAAS_ALLOWED_ORIGINS`, separated by commas).
        allowed_hosts: the host names by which callers reach the service, besides localhost (`SLIMFAAS_ALLOWED_HOSTS`,
            separated by commas). If empty, only a service that listens on loopback checks its name.
        path_prefix: the path that a proxy removes before it forwards a request, without a final slash
            (`SLIMFAAS_PATH_PREFIX`); empty: none, or trusted proxies say so.
        trusted_service_accounts: accounts whose tokens are trusted, as `(namespace, name)`, where `*` matches any
            (`SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS`, `namespace:name` separated by commas); empty: tokens are ignored.
        token_audience: the audience that tokens must be issued for (`SLIMFAAS_TOKEN_AUDIENCE`).
        authorization: who decides what callers may do (`SLIMFAAS_AUTHORIZATION`): `trust`, the rules of this service
            about addresses and ServiceAccounts, or `rbac`, the cluster's RBAC.
        hide_private: whether untrusted callers get the same response for a private definition as for an unknown one
            (`SLIMFAAS_HIDE_PRIVATE`, `true` or `false`).
        public_listing: whether anyone may list the runs of public definitions, empty their queues and see their state
            in full, which otherwise needs a trusted caller (`SLIMFAAS_PUBLIC_LISTING`, `true` or `false`).
        ui: whether the page at `/ui` is served (`SLIMFAAS_UI`, `on` or `off`).
        max_streams: how many requests may wait for a run or read a log at the same time. gunicorn gets one more thread
            for each (`SLIMFAAS_MAX_STREAMS`).
        max_queued: how many runs of all definitions may be queued (`SLIMFAAS_MAX_QUEUED`, `DEFAULT_MAX_QUEUED` if it is
            not set); `None`: no limit, which is written as 0.
        max_queued_bytes: how many bytes the queued runs of all definitions may take in etcd
            (`SLIMFAAS_MAX_QUEUED_BYTES`). One definition may take half of this. The limit applies where the number of
            queued runs is limited.
        max_schedules: how many schedules of one definition requests may make (`SLIMFAAS_MAX_SCHEDULES`); 0: none.
        start_error_timeout_seconds: after how long a run without a `PendingTimeoutSeconds` is ended if an error of an
            image or of a container's configuration keeps it from starting (`SLIMFAAS_START_ERROR_TIMEOUT_SECONDS`,
            `DEFAULT_START_ERROR_TIMEOUT_SECONDS` if it is not set); `None`: never, which is written as 0.
        notify_allowed_networks: networks that notifications may be sent to although they are loopback, link-local or
            the like, or have the API server in them (`SLIMFAAS_NOTIFY_ALLOWED_NETWORKS`, CIDR blocks separated by
            commas).
        notify_secrets_folder: where the Secrets are mounted that notifications are signed with, each in a folder of its
            name (`SLIMFAAS_NOTIFY_SECRETS_FOLDER`).
        notify_ca_file: certificate authorities that receivers' certificates may be signed by, besides the system's
            (`SLIMFAAS_NOTIFY_CA_FILE`, a PEM file); `None`: none.
        key_secret: mixed into Idempotency-Keys, so that nobody can guess them from ids (`SLIMFAAS_KEY_SECRET`); empty:
            the uid of the service's own ServiceAccount is.
        instance: the name of this pod or machine, for the Lease and for Events (`HOSTNAME`).
        port: the port of the HTTP server (`PORT`).
        probe_port: a further port that serves only probes (`SLIMFAAS_PROBE_PORT`); `None`: there is none.
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
    cronjob_definitions: bool = True
    trusted_networks: tuple[Network, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    path_prefix: str = ""
    trusted_service_accounts: tuple[tuple[str, str], ...] = ()
    token_audience: str = "slimfaas-jobs"  # noqa: S105 - the name of an audience is no secret
    authorization: Literal["trust", "rbac"] = "trust"
    hide_private: bool = False
    public_listing: bool = False
    ui: bool = True
    max_streams: int = 25
    max_queued: int | None = None
    max_queued_bytes: int = _DEFAULT_MAX_QUEUED_BYTES
    max_schedules: int = 100
    start_error_timeout_seconds: int | None = None
    notify_allowed_networks: tuple[Network, ...] = ()
    notify_secrets_folder: Path = Path("/etc/slimfaas-jobs/notify-secrets")
    notify_ca_file: Path | None = None
    key_secret: str = field(default="", repr=False)
    instance: str = "slimfaas-jobs"
    port: int = _DEFAULT_PORT
    probe_port: int | None = None
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
        faults += _contradictions(values)
        if values.get("probe_port") == values.get("port", _DEFAULT_PORT):
            faults.append("SLIMFAAS_PROBE_PORT must be another port than PORT")
        if "SCRIPT_NAME" in given:
            faults.append(f"SCRIPT_NAME must be unset: {_SCRIPT_NAME}")
        if faults:
            raise SettingsError("\n".join(faults))
        return cls(
            configuration=document,
            configuration_file=Path(file) if (file := given.get(_CONFIGURATION_FILE_NAME)) else None,
            traces=_read_traces(given),
            **{
                **values,
                "max_queued": values.get("max_queued", DEFAULT_MAX_QUEUED) or None,
                "start_error_timeout_seconds": values.get(
                    "start_error_timeout_seconds", DEFAULT_START_ERROR_TIMEOUT_SECONDS
                )
                or None,
            },
        )


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """Return the faults of settings that do not go together. Ignoring one of them would surprise its author."""
    if values.get("authorization") != "rbac":
        return []
    return [
        f"{name} can't be combined with SLIMFAAS_AUTHORIZATION=rbac, where only RBAC gives rights: remove it"
        for name, attribute in (
            ("SLIMFAAS_TRUSTED_NETWORKS", "trusted_networks"),
            ("SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS", "trusted_service_accounts"),
        )
        if values.get(attribute)
    ]


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


class _AbsolutePath(fields.Field[Path]):
    """A path that does not depend on the working directory. The file may appear later."""

    def __init__(self, name: str) -> None:
        super().__init__(data_key=name, error_messages={"invalid": "must be an absolute path"})

    def _deserialize(self, value: str, *_: Any, **__: Any) -> Path:
        if not value.startswith("/") or "\0" in value:
            raise self.make_error("invalid")
        return Path(value)


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


def _matching(pattern: str) -> Callable[[str], str]:
    """Return a parser of items that match a pattern, in any case; it returns them in lower case."""
    compiled = re.compile(pattern, re.ASCII)

    def parse(text: str) -> str:
        if compiled.fullmatch(text.lower()) is None:
            raise ValueError(text)
        return text.lower()

    return parse


_HOST_NAME = r"(?:[a-z0-9_](?:[a-z0-9_.-]{0,253}[a-z0-9_])?|\[[0-9a-f:.]{2,45}\])"

_NETWORKS = "must be a list of CIDR blocks such as 10.0.0.0/8 (no bits set after the prefix), separated by commas"


class _EnvironmentSchema(Schema):
    """The variables that are read one by one. Each field fills the attribute of `Settings` that has the same name."""

    class Meta:
        unknown = EXCLUDE

    kubeconfig = fields.String(data_key="KUBECONFIG")
    namespace = _text("SLIMFAAS_NAMESPACE", _DNS_LABEL, "must be the name of a Kubernetes namespace (a DNS label)")
    dispatcher = _Choice("SLIMFAAS_DISPATCHER", {"on": True, "off": False})
    cronjob_definitions = _Choice("SLIMFAAS_CRONJOB_DEFINITIONS", {"on": True, "off": False})
    trusted_networks = _CommaSeparated("SLIMFAAS_TRUSTED_NETWORKS", _parse_network, _NETWORKS)
    trusted_proxies = _CommaSeparated("SLIMFAAS_TRUSTED_PROXIES", _parse_network, _NETWORKS)
    allowed_origins = _CommaSeparated(
        "SLIMFAAS_ALLOWED_ORIGINS",
        _matching(rf"https?://{_HOST_NAME}(?::[0-9]{{1,5}})?"),
        "must be a list of origins such as https://portal.example:8443 (no path, no wildcards), separated by commas",
    )
    allowed_hosts = _CommaSeparated(
        "SLIMFAAS_ALLOWED_HOSTS",
        _matching(_HOST_NAME),
        "must be a list of host names such as jobs.example (no port, no wildcards), separated by commas",
    )
    path_prefix = _text(
        "SLIMFAAS_PATH_PREFIX",
        r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.~-]+){1,20}",
        "must be a path such as /jobs-api: letters, digits and - _ . ~ between slashes, no slash at its end",
    )
    trusted_service_accounts = _CommaSeparated(
        "SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS",
        _parse_service_account,
        "must be a list of ServiceAccounts, each as namespace:name, separated by commas",
    )
    token_audience = _text(
        "SLIMFAAS_TOKEN_AUDIENCE", "[!-~]{1,253}", "must be 1 to 253 visible ASCII characters without spaces"
    )
    authorization = _Choice("SLIMFAAS_AUTHORIZATION", {"trust": "trust", "rbac": "rbac"})
    hide_private = _Choice("SLIMFAAS_HIDE_PRIVATE", {"true": True, "false": False})
    public_listing = _Choice("SLIMFAAS_PUBLIC_LISTING", {"true": True, "false": False})
    ui = _Choice("SLIMFAAS_UI", {"on": True, "off": False})
    max_streams = _integer("SLIMFAAS_MAX_STREAMS", 0, 1000)  # one Python process serves no more threads well
    max_queued = _integer("SLIMFAAS_MAX_QUEUED", 0, 999_999_999)
    max_queued_bytes = _integer("SLIMFAAS_MAX_QUEUED_BYTES", 2**20, 2**40)
    max_schedules = _integer("SLIMFAAS_MAX_SCHEDULES", 0, 1000)  # a list of them has no pages
    start_error_timeout_seconds = _integer("SLIMFAAS_START_ERROR_TIMEOUT_SECONDS", 0, 999_999_999)
    notify_allowed_networks = _CommaSeparated("SLIMFAAS_NOTIFY_ALLOWED_NETWORKS", _parse_network, _NETWORKS)
    notify_secrets_folder = _AbsolutePath("SLIMFAAS_NOTIFY_SECRETS_FOLDER")
    notify_ca_file = _AbsolutePath("SLIMFAAS_NOTIFY_CA_FILE")
    key_secret = _text("SLIMFAAS_KEY_SECRET", "[!-~]{16,1024}", "must be 16 to 1024 visible ASCII characters")
    instance = fields.String(data_key="HOSTNAME")
    port = _integer("PORT", 0, 65535)
    probe_port = _integer("SLIMFAAS_PROBE_PORT", 1, 65535)
    log_format = _Choice("SLIMFAAS_LOG_FORMAT", {"text": "text", "json": "json"})
    log_level = _Choice("SLIMFAAS_LOG_LEVEL", {level.lower(): level for level in ("DEBUG", "INFO", "WARNING", "ERROR")})
