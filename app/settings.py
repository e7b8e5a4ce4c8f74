"""How one process of the service is set up: the only reader of the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from schemas.manifests import CONFIGMAP_KEYS

_CONFIGURATION_FILE_NAME = "SLIMFAAS_JOBS_CONFIGURATION_FILE"

Network = IPv4Network | IPv6Network


class SettingsError(Exception):
    """The environment says something that can't be; the message names the variable, never its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one process.

    Attributes:
        configuration: the job configuration, as JSON.
        kubeconfig: path of a kubeconfig (`KUBECONFIG`); `None`: the pod's own credentials.
        namespace: where runs are made (`SLIMFAAS_NAMESPACE`); `None`: the pod's own namespace, else the kubeconfig
            context's, else `default`.
        dispatcher: whether this process also dispatches (`SLIMFAAS_DISPATCHER`, `on` or `off`).
        trusted_networks: whose callers may use private definitions (`SLIMFAAS_TRUSTED_NETWORKS`, CIDRs by commas).
        instance: this pod's or machine's name, for the lease and the Events (`HOSTNAME`).
    """

    configuration: str
    kubeconfig: str | None = None
    namespace: str | None = None
    dispatcher: bool = True
    trusted_networks: tuple[Network, ...] = ()
    instance: str = "slimfaas-jobs"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings.

        Raises:
            SettingsError: a variable is missing, given twice, or can't be read.
        """
        return cls(
            configuration=_read_configuration(environment),
            kubeconfig=environment.get("KUBECONFIG") or None,
            namespace=environment.get("SLIMFAAS_NAMESPACE") or None,
            dispatcher=_read_switch(environment, "SLIMFAAS_DISPATCHER"),
            trusted_networks=_read_networks(environment, "SLIMFAAS_TRUSTED_NETWORKS"),
            instance=environment.get("HOSTNAME") or "slimfaas-jobs",
        )


def read_port(environment: Mapping[str, str] = os.environ) -> int:
    """The port to listen on (`PORT`), 5000 where nothing is said.

    Raises:
        SettingsError: it is no port.
    """
    text = environment.get("PORT") or "5000"
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise SettingsError("PORT is not a port number")
    return int(text)


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
        return Path(value).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{_CONFIGURATION_FILE_NAME} can't be read: {error}") from error


def _read_switch(environment: Mapping[str, str], name: str) -> bool:
    text = (environment.get(name) or "on").lower()
    if text not in ("on", "off"):
        raise SettingsError(f"{name} is neither on nor off")
    return text == "on"


def _read_networks(environment: Mapping[str, str], name: str) -> tuple[Network, ...]:
    texts = [text.strip() for text in (environment.get(name) or "").split(",")]
    try:
        return tuple(ip_network(text) for text in texts if text)
    except ValueError as error:
        raise SettingsError(f"{name} is not a list of networks like 10.0.0.0/8, separated by commas") from error
