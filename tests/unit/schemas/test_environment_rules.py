"""`schemas.environment_rules`: which environment variables a request may set."""

import pytest

from schemas.definition import Definition, Variable
from schemas.environment_rules import environment_faults

TOKEN = Variable("TOKEN", source={"secretKeyRef": {"name": "api", "key": "token"}})
REGION = Variable("REGION", source={"configMapKeyRef": {"name": "settings", "key": "region"}})
URL = Variable("API_URL", "https://api.example")
PLAIN = Definition("job", "busybox:1", environments=(URL, REGION))
WITH_SECRET = Definition("job", "busybox:1", environments=(URL, TOKEN), visibility="Public")
WITH_ACCOUNT = Definition("job", "busybox:1", environments=(URL,), service_account_name="reporter")

FROM_SECRET = "this definition takes this variable from a Secret"
HOLDS_SECRET = "runs of this definition hold a Secret or a token"
STEERS = "this variable steers how programs are loaded or run; a request can set it only if"
STEERS_IN_FULL = "this variable steers how programs are loaded or run; a pattern with * does not allow it"
NOT_LISTED = "not among the variables that EnvironmentsWhitelist"


def refusals(definition: Definition, *names: str) -> list[tuple[str, str]]:
    variables = tuple(Variable(name, "value", literal=True) for name in names)
    return [(fault.pointer, fault.message) for fault in environment_faults(definition, variables)]


def refusal(definition: Definition, name: str, *whitelist: str) -> str:
    """The refusal of one variable; empty: it is allowed."""
    limited = Definition(
        "job",
        "busybox:1",
        environments=definition.environments,
        service_account_name=definition.service_account_name,
        environments_whitelist=whitelist,
    )
    return next((message for _, message in refusals(limited, name)), "")


@pytest.mark.parametrize("definition", [WITH_SECRET, WITH_ACCOUNT])
@pytest.mark.parametrize("name", ["PYTHONWARNINGS", "BROWSER", "LD_PRELOAD", "NODE_OPTIONS", "API_URL", "ANYTHING"])
def test_environment_faults__lets_no_variable_reach_a_program_that_holds_a_secret(
    definition: Definition, name: str
) -> None:
    """Each of these made a program run the caller's code, or send its Secret to the caller."""
    ((pointer, message),) = refusals(definition, name)
    assert pointer == "/Environments/0"
    assert message.startswith(HOLDS_SECRET)
    assert "EnvironmentsWhitelist" in message


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "GLIBC_TUNABLES", "GCONV_PATH", "PATH", "IFS", "ENV",
        "BASH_ENV", "BASH_FUNC_x", "SHELLOPTS", "PS4", "HOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONWARNINGS",
        "BROWSER", "PAGER", "MANPAGER", "EDITOR", "LESSOPEN", "SSH_ASKPASS", "NODE_OPTIONS", "NODE_PATH",
        "NODE_EXTRA_CA_CERTS", "NPM_CONFIG_REGISTRY", "npm_config_script_shell", "JAVA_TOOL_OPTIONS", "JAVA_OPTS",
        "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "MAVEN_OPTS", "CLASSPATH", "PERL5OPT", "PERL5LIB", "RUBYOPT", "RUBYLIB",
        "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "http_proxy", "HTTPS_PROXY", "All_Proxy", "no_proxy", "SSL_CERT_FILE",
        "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "OPENSSL_CONF", "DOTNET_STARTUP_HOOKS", "CORECLR_PROFILER", "PHPRC",
        "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "LUA_INIT", "MPLBACKEND", "AWS_CONFIG_FILE", "CLOUDSDK_PYTHON",
        "TAR_OPTIONS", "ZIPOPT", "PARALLEL", "PARALLEL_SHELL", "shell_escape", "TEXMFCNF", "DBUS_SESSION_BUS_ADDRESS",
        "VIMINIT", "FZF_DEFAULT_COMMAND", "CC", "CONFIG_SHELL", "LOG4J_CONFIGURATION_FILE", "SPRING_DATASOURCE_URL",
        "DASK_DISTRIBUTED__WORKER__PRELOAD", "FLASK_DEBUG", "PYSPARK_DRIVER_PYTHON", "JDK_JAVAC_OPTIONS",
        "IMAGEIO_FFMPEG_EXE", "ESBUILD_BINARY_PATH",
    ],
)  # fmt: skip
def test_environment_faults__refuses_variables_that_steer_programs(name: str) -> None:
    """They need no Secret to be dangerous: the caller would run code of their own in a fixed program's place."""
    ((_, message),) = refusals(PLAIN, name)
    assert message.startswith(STEERS)
    assert "EnvironmentsWhitelist" in message


@pytest.mark.parametrize(
    "name",
    [
        "API_URL", "REGION", "LOG_LEVEL", "NODE_ENV", "MIX_ENV", "env", "path", "TZ", "LANG", "LC_ALL", "MY_PATH",
        "A.b-c", "X_LD_", "TF_VAR_region", "UV_THREADPOOL_SIZE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
    ],
)  # fmt: skip
def test_environment_faults__allows_other_variables_of_a_run_without_a_secret(name: str) -> None:
    """Also those that the definition sets or takes from a ConfigMap."""
    assert refusals(PLAIN, name) == []


@pytest.mark.parametrize("whitelist", [("TOKEN",), ("*",), ("token",), ()])
@pytest.mark.parametrize("name", ["TOKEN", "token"])
def test_environment_faults__never_lets_a_variable_from_a_secret_be_replaced(
    name: str, whitelist: tuple[str, ...]
) -> None:
    assert refusal(WITH_SECRET, name, *whitelist).startswith(FROM_SECRET)


@pytest.mark.parametrize(
    ("name", "whitelist", "expected"),
    [
        ("API_URL", ("API_URL",), ""),
        ("API_URL", ("API_*",), ""),
        ("API_URL", ("*",), ""),
        ("API_URL", ("*_URL", "B"), ""),
        ("API_URL", (), NOT_LISTED),
        ("API_URL", ("API",), NOT_LISTED),
        ("API_URL", ("api_url",), NOT_LISTED),
        ("API_URL", ("B_*", "*_API"), NOT_LISTED),
        ("LD_PRELOAD", ("LD_PRELOAD",), ""),
        ("LD_PRELOAD", ("*",), STEERS_IN_FULL),
        ("LD_PRELOAD", ("LD_*",), STEERS_IN_FULL),
        ("LD_PRELOAD", ("LD_*", "LD_PRELOAD"), ""),
        ("LD_PRELOAD", ("OTHER",), NOT_LISTED),
    ],
)
@pytest.mark.parametrize("definition", [PLAIN, WITH_SECRET, WITH_ACCOUNT])
def test_environment_faults__follows_the_whitelist(
    definition: Definition, name: str, whitelist: tuple[str, ...], expected: str
) -> None:
    found = refusal(definition, name, *whitelist)
    assert found.startswith(expected) if expected else found == ""


def test_environment_faults__names_each_faulty_variable() -> None:
    assert [pointer for pointer, _ in refusals(PLAIN, "A", "PATH", "A", "B", "IFS")] == [
        "/Environments/1",
        "/Environments/2",
        "/Environments/4",
    ]
