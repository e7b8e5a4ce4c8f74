"""`app.settings`: each variable, its default, and the faults that a start names."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, read_cluster_settings

JSON = '{"Configurations": {}}'
MINIMAL = {"SLIMFAAS_JOBS_CONFIGURATION": JSON}


def faults_of(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environment(environment)
    return str(refusal.value).splitlines()


def test_from_environment__has_defaults_for_all_but_the_configuration() -> None:
    assert Settings.from_environment(MINIMAL) == Settings(
        configuration=JSON,
        kubeconfig=None,
        namespace=None,
        dispatcher=True,
        trusted_networks=(),
        max_streams=25,
        max_queued=10_000,
        start_error_timeout_seconds=600,
        instance="slimfaas-jobs",
        port=5000,
    )


def test_from_environment__reads_every_variable() -> None:
    environment = {
        "SlimFaas__JobsConfiguration": JSON,
        "KUBECONFIG": "/a:/b",
        "SLIMFAAS_NAMESPACE": "jobs-1",
        "SLIMFAAS_DISPATCHER": "off",
        "SLIMFAAS_TRUSTED_NETWORKS": "10.0.0.0/8, fd00::/8,192.168.1.7,",
        "SLIMFAAS_MAX_STREAMS": "8",
        "SLIMFAAS_MAX_QUEUED": "500",
        "SLIMFAAS_MAX_SCHEDULES": "7",
        "SLIMFAAS_START_ERROR_TIMEOUT_SECONDS": "90",
        "SLIMFAAS_LOG_FORMAT": "JSON",
        "SLIMFAAS_LOG_LEVEL": "debug",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "SLIMFAAS_TRUSTED_PROXIES": "::ffff:10.0.0.0/104",
        "SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS": "shop:web, *:admin,shop:*",
        "SLIMFAAS_TOKEN_AUDIENCE": "https://jobs.example",
        "SLIMFAAS_HIDE_PRIVATE": "True",
        "SLIMFAAS_ALLOWED_ORIGINS": "https://Portal.example:8443, http://[::1]",
        "SLIMFAAS_ALLOWED_HOSTS": "Jobs.example,10.0.0.7",
        "SLIMFAAS_PATH_PREFIX": "/batch/v1",
        "SLIMFAAS_PROBE_PORT": "8081",
        "SLIMFAAS_PUBLIC_LISTING": "TRUE",
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
        max_queued=500,
        max_schedules=7,
        start_error_timeout_seconds=90,
        log_format="json",
        log_level="DEBUG",
        traces=True,
        trusted_proxies=(ip_network("10.0.0.0/8"),),
        trusted_service_accounts=(("shop", "web"), ("*", "admin"), ("shop", "*")),
        token_audience="https://jobs.example",
        hide_private=True,
        allowed_origins=("https://portal.example:8443", "http://[::1]"),
        allowed_hosts=("jobs.example", "10.0.0.7"),
        path_prefix="/batch/v1",
        probe_port=8081,
        public_listing=True,
        instance="slimfaas-0",
        port=8080,
    )


def test_from_environment__takes_0_as_no_bound_of_the_queues() -> None:
    assert Settings.from_environment({**MINIMAL, "SLIMFAAS_MAX_QUEUED": "0"}).max_queued is None
    assert Settings.from_environment({**MINIMAL, "SLIMFAAS_MAX_QUEUED": "1"}).max_queued == 1


def test_from_environment__start_error_timeout_of_0__ends_no_run() -> None:
    settings = Settings.from_environment({**MINIMAL, "SLIMFAAS_START_ERROR_TIMEOUT_SECONDS": "0"})
    assert settings.start_error_timeout_seconds is None


def test_from_environment__takes_empty_variables_as_unset() -> None:
    """Manifests often carry them."""
    names = (
        "SlimFaas__JobsConfiguration",
        "SLIMFAAS_JOBS_CONFIGURATION_FILE",
        "KUBECONFIG",
        "SLIMFAAS_NAMESPACE",
        "SLIMFAAS_DISPATCHER",
        "SLIMFAAS_TRUSTED_NETWORKS",
        "SLIMFAAS_TRUSTED_PROXIES",
        "SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS",
        "SLIMFAAS_TOKEN_AUDIENCE",
        "SLIMFAAS_HIDE_PRIVATE",
        "SLIMFAAS_PUBLIC_LISTING",
        "SLIMFAAS_MAX_STREAMS",
        "SLIMFAAS_MAX_QUEUED",
        "SLIMFAAS_MAX_QUEUED_BYTES",
        "SLIMFAAS_MAX_SCHEDULES",
        "SLIMFAAS_START_ERROR_TIMEOUT_SECONDS",
        "SLIMFAAS_KEY_SECRET",
        "SLIMFAAS_LOG_FORMAT",
        "SLIMFAAS_LOG_LEVEL",
        "SLIMFAAS_ALLOWED_ORIGINS",
        "SLIMFAAS_ALLOWED_HOSTS",
        "SLIMFAAS_PATH_PREFIX",
        "SLIMFAAS_PROBE_PORT",
        "SCRIPT_NAME",
        "HOSTNAME",
        "PORT",
    )
    assert Settings.from_environment(MINIMAL | dict.fromkeys(names, "")) == Settings.from_environment(MINIMAL)


def test_from_environment__reads_the_configuration_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "configuration.json"
    file.write_text(JSON, "utf-8")
    settings = Settings.from_environment({"SLIMFAAS_JOBS_CONFIGURATION_FILE": str(file)})
    assert settings.configuration == JSON
    assert settings.configuration_file == file


@pytest.mark.parametrize("content", [b"\xff", None], ids=["not UTF-8", "a folder"])
def test_from_environment__refuses_an_unreadable_configuration_file(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "configuration"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    (fault,) = faults_of(SLIMFAAS_JOBS_CONFIGURATION_FILE=str(file))
    assert fault.startswith("SLIMFAAS_JOBS_CONFIGURATION_FILE cannot be read: ")


def test_from_environment__names_the_three_variables_when_there_is_no_configuration() -> None:
    (fault,) = faults_of()
    assert "SLIMFAAS_JOBS_CONFIGURATION, SlimFaas__JobsConfiguration, SLIMFAAS_JOBS_CONFIGURATION_FILE" in fault


def test_from_environment__refuses_two_configurations() -> None:
    (fault,) = faults_of(**MINIMAL, SLIMFAAS_JOBS_CONFIGURATION_FILE="/x")
    assert fault.endswith("SLIMFAAS_JOBS_CONFIGURATION, SLIMFAAS_JOBS_CONFIGURATION_FILE")


INVALID = [
    *(
        ("SLIMFAAS_ALLOWED_ORIGINS", text, "no path, no wildcards")
        for text in ("*", "null", "jobs.example", "https://a/", "https://*.a", "ftp://a", "https://a https://b")
    ),
    *(("SLIMFAAS_ALLOWED_HOSTS", text, "no port, no wildcards") for text in ("*", "a:80", "https://a", "*.a", "a/b")),
    *(
        ("SLIMFAAS_PATH_PREFIX", text, "no slash at its end")
        for text in ("/x/", "//x", "/x//y", "/..", "/x/../y", "/x y", "/x\n", "/x?y", "javascript:x", "/x%2e", "x/y")
    ),
    ("SLIMFAAS_PROBE_PORT", "0", "from 1 to 65535"),
    ("SLIMFAAS_PROBE_PORT", "5000", "another port than PORT"),
    ("SCRIPT_NAME", "/batch", "SLIMFAAS_PATH_PREFIX"),
    ("PORT", "http", "65535"),
    ("PORT", "-1", "65535"),
    ("PORT", "65536", "65535"),
    ("PORT", "9" * 5000, "65535"),
    ("PORT", "\u00b2", "65535"),
    ("SLIMFAAS_NAMESPACE", "Upper", "DNS label"),
    ("SLIMFAAS_NAMESPACE", "../kube-system", "DNS label"),
    ("SLIMFAAS_NAMESPACE", "a\n", "DNS label"),
    ("SLIMFAAS_NAMESPACE", "a" * 64, "DNS label"),
    ("SLIMFAAS_DISPATCHER", "true", "on or off"),
    ("SLIMFAAS_LOG_FORMAT", "xml", "text or json"),
    ("SLIMFAAS_LOG_LEVEL", "critical", "debug, info, warning or error"),
    ("SLIMFAAS_LOG_LEVEL", "20", "debug, info, warning or error"),
    ("SLIMFAAS_MAX_STREAMS", "-1", "from 0 to 1000"),
    ("SLIMFAAS_MAX_QUEUED_BYTES", "1000", "from 1048576 to 1099511627776"),
    ("SLIMFAAS_KEY_SECRET", "short", "16 to 1024 visible ASCII characters"),
    ("SLIMFAAS_KEY_SECRET", "with a space in it", "16 to 1024 visible ASCII characters"),
    ("SLIMFAAS_MAX_QUEUED", "-1", "from 0 to 999999999"),
    ("SLIMFAAS_START_ERROR_TIMEOUT_SECONDS", "-1", "from 0 to 999999999"),
    ("SLIMFAAS_MAX_QUEUED", "1000000000", "from 0 to 999999999"),
    ("SLIMFAAS_MAX_QUEUED", "none", "from 0 to 999999999"),
    ("SLIMFAAS_MAX_STREAMS", "1001", "from 0 to 1000"),
    ("SLIMFAAS_MAX_SCHEDULES", "-1", "from 0 to 1000"),
    ("SLIMFAAS_MAX_SCHEDULES", "1001", "from 0 to 1000"),
    ("SLIMFAAS_MAX_STREAMS", "many", "from 0 to 1000"),
    ("SLIMFAAS_TRUSTED_NETWORKS", "10.0.0.1/8", "CIDR blocks"),
    ("SLIMFAAS_TRUSTED_NETWORKS", "10.0.0.0/8 192.168.0.0/16", "CIDR blocks"),
    ("SLIMFAAS_TRUSTED_NETWORKS", "everybody", "CIDR blocks"),
    ("SLIMFAAS_TRUSTED_PROXIES", "10.0.0.1/8", "CIDR blocks"),
    ("SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS", "*", "namespace:name"),
    ("SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS", "shop:w*", "namespace:name"),
    ("SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS", "shop:web:x", "namespace:name"),
    ("SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS", "Shop:web", "namespace:name"),
    ("SLIMFAAS_TOKEN_AUDIENCE", "two words", "ASCII"),
    ("SLIMFAAS_HIDE_PRIVATE", "yes", "true or false"),
    ("SLIMFAAS_PUBLIC_LISTING", "on", "true or false"),
]


@pytest.mark.parametrize(("name", "value", "must_be"), INVALID)
def test_from_environment__names_an_invalid_variable_and_what_it_must_be_but_not_its_value(
    name: str, value: str, must_be: str
) -> None:
    """The value may be a secret, also where it was set by mistake."""
    (fault,) = faults_of(**MINIMAL, **{name: value})
    assert fault.startswith(f"{name} must be ")
    assert must_be in fault
    assert value not in fault


def test_from_environment__names_all_faults_at_once() -> None:
    environment = dict.fromkeys(("SLIMFAAS_NAMESPACE", "SLIMFAAS_DISPATCHER", "SLIMFAAS_TRUSTED_NETWORKS", "PORT"), "?")
    assert [fault.split()[0] for fault in faults_of(**environment)] == ["no", *environment]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_from_environment__records_spans_when_a_collector_is_named(environment: dict[str, str], expected: bool) -> None:
    assert Settings.from_environment(MINIMAL | environment).traces is expected


def test_read_cluster_settings__ignores_all_other_variables() -> None:
    environment = {"KUBECONFIG": "/a", "SLIMFAAS_NAMESPACE": "jobs", "PORT": "http"}
    assert read_cluster_settings(environment=environment) == ("/a", "jobs")
    assert read_cluster_settings("other", environment) == ("/a", "other")
    assert read_cluster_settings(environment={}) == (None, None)


def test_read_cluster_settings__refuses_an_invalid_namespace() -> None:
    with pytest.raises(SettingsError, match="SLIMFAAS_NAMESPACE must be"):
        read_cluster_settings("../kube-system", {})
