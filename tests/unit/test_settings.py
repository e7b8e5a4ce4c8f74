"""The environment is read in one place, strictly, and all that is wrong with it is said at once."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError

JSON = '{"Configurations": {}}'
GIVEN = {"SLIMFAAS_JOBS_CONFIGURATION": JSON}


def refuse(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environment(environment)
    return str(refusal.value).splitlines()


def test_a_configuration_is_enough_and_the_rest_has_defaults() -> None:
    """Everything else has a value that suits a pod."""
    assert Settings.from_environment(GIVEN) == Settings(
        configuration=JSON,
        kubeconfig=None,
        namespace=None,
        dispatcher=True,
        trusted_networks=(),
        max_streams=25,
        instance="slimfaas-jobs",
        port=5000,
    )


def test_every_variable_is_read() -> None:
    """Each to its field."""
    environment = {
        "SlimFaas__JobsConfiguration": JSON,
        "KUBECONFIG": "/a:/b",
        "SLIMFAAS_NAMESPACE": "jobs-1",
        "SLIMFAAS_DISPATCHER": "off",
        "SLIMFAAS_TRUSTED_NETWORKS": "10.0.0.0/8, fd00::/8,192.168.1.7,",
        "SLIMFAAS_MAX_STREAMS": "8",
        "SLIMFAAS_MAX_QUEUED": "10000",
        "SLIMFAAS_LOG_FORMAT": "JSON",
        "SLIMFAAS_LOG_LEVEL": "debug",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "SLIMFAAS_TRUSTED_PROXIES": "::ffff:10.0.0.0/104",
        "SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS": "shop:web, *:admin,shop:*",
        "SLIMFAAS_TOKEN_AUDIENCE": "https://jobs.example",
        "SLIMFAAS_HIDE_PRIVATE": "True",
        "HOSTNAME": "slimfaas-0",
        "PORT": "8080",
    }
    assert Settings.from_environment(environment) == Settings(
        configuration=JSON,
        kubeconfig="/a:/b",
        namespace="jobs-1",
        dispatcher=False,
        trusted_networks=tuple(map(ip_network, ("10.0.0.0/8", "fd00::/8", "192.168.1.7/32"))),
        max_streams=8,
        max_queued=10000,
        log_format="json",
        log_level="DEBUG",
        traces=True,
        trusted_proxies=(ip_network("10.0.0.0/8"),),
        trusted_service_accounts=(("shop", "web"), ("*", "admin"), ("shop", "*")),
        token_audience="https://jobs.example",
        hide_private=True,
        instance="slimfaas-0",
        port=8080,
    )


def test_empty_variables_count_as_absent() -> None:
    """Manifests often carry them."""
    names = ("SlimFaas__JobsConfiguration", "SLIMFAAS_JOBS_CONFIGURATION_FILE", "KUBECONFIG", "SLIMFAAS_NAMESPACE")
    others = (
        "SLIMFAAS_DISPATCHER",
        "SLIMFAAS_TRUSTED_NETWORKS",
        "SLIMFAAS_MAX_STREAMS",
        "SLIMFAAS_MAX_QUEUED",
        "HOSTNAME",
        "PORT",
    )
    assert Settings.from_environment(GIVEN | dict.fromkeys((*names, *others), "")) == Settings.from_environment(GIVEN)


def test_the_configuration_can_be_in_a_file(tmp_path: Path) -> None:
    """As where a ConfigMap is mounted."""
    file = tmp_path / "configuration.json"
    file.write_text(JSON, "utf-8")
    settings = Settings.from_environment({"SLIMFAAS_JOBS_CONFIGURATION_FILE": str(file)})
    assert settings.configuration == JSON


@pytest.mark.parametrize("content", [b"\xff", None])
def test_a_file_that_can_not_be_read_is_a_fault(tmp_path: Path, content: bytes | None) -> None:
    """Missing, a folder, or no text."""
    file = tmp_path / "configuration"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    (fault,) = refuse(SLIMFAAS_JOBS_CONFIGURATION_FILE=str(file))
    assert fault.startswith("SLIMFAAS_JOBS_CONFIGURATION_FILE can't be read")


def test_no_configuration_is_a_fault_that_names_the_three_ways() -> None:
    """A newcomer learns what to set."""
    (fault,) = refuse()
    assert "SLIMFAAS_JOBS_CONFIGURATION, SlimFaas__JobsConfiguration, SLIMFAAS_JOBS_CONFIGURATION_FILE" in fault


def test_two_configurations_are_a_fault_not_a_choice() -> None:
    """Nobody has to guess which one is in force."""
    (fault,) = refuse(**GIVEN, SLIMFAAS_JOBS_CONFIGURATION_FILE="/x")
    assert fault.endswith("SLIMFAAS_JOBS_CONFIGURATION, SLIMFAAS_JOBS_CONFIGURATION_FILE")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "9" * 5000),
        ("PORT", "\u00b2"),
        ("SLIMFAAS_NAMESPACE", "Upper"),
        ("SLIMFAAS_NAMESPACE", "../kube-system"),
        ("SLIMFAAS_NAMESPACE", "a\n"),
        ("SLIMFAAS_NAMESPACE", "a" * 64),
        ("SLIMFAAS_DISPATCHER", "true"),
        ("SLIMFAAS_LOG_FORMAT", "xml"),
        ("SLIMFAAS_LOG_LEVEL", "critical"),
        ("SLIMFAAS_LOG_LEVEL", "20"),
        ("SLIMFAAS_MAX_STREAMS", "-1"),
        ("SLIMFAAS_MAX_QUEUED", "0"),
        ("SLIMFAAS_MAX_QUEUED", "-1"),
        ("SLIMFAAS_MAX_QUEUED", "1000000000"),
        ("SLIMFAAS_MAX_STREAMS", "1001"),
        ("SLIMFAAS_MAX_STREAMS", "many"),
        ("SLIMFAAS_TRUSTED_NETWORKS", "10.0.0.1/8"),
        ("SLIMFAAS_TRUSTED_NETWORKS", "10.0.0.0/8 192.168.0.0/16"),
        ("SLIMFAAS_TRUSTED_NETWORKS", "everybody"),
        ("SLIMFAAS_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS", "*"),
        ("SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS", "shop:w*"),
        ("SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS", "shop:web:x"),
        ("SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS", "Shop:web"),
        ("SLIMFAAS_TOKEN_AUDIENCE", "two words"),
        ("SLIMFAAS_HIDE_PRIVATE", "yes"),
    ],
)
def test_a_value_that_can_not_be_is_a_fault_that_names_the_variable_only(name: str, value: str) -> None:
    """What stands in an environment may be secret, also where it stands by mistake."""
    (fault,) = refuse(**GIVEN, **{name: value})
    assert fault.startswith(name)
    assert value not in fault


def test_all_faults_are_named_at_once() -> None:
    """One start tells them all."""
    environment = dict.fromkeys(("SLIMFAAS_NAMESPACE", "SLIMFAAS_DISPATCHER", "SLIMFAAS_TRUSTED_NETWORKS", "PORT"), "?")
    assert [fault.split()[0] for fault in refuse(**environment)] == ["no", *environment]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_spans_are_made_where_a_collector_is_named(environment: dict[str, str], expected: bool) -> None:
    """By OpenTelemetry's own variables."""
    assert Settings.from_environment(GIVEN | environment).traces is expected
