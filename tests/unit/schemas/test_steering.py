"""Which names of variables steer programs."""

import pytest

from schemas.steering import is_steering


@pytest.mark.parametrize(
    "name",
    [
        "SPRING_CONFIG_LOCATION",
        "spring.config.location",
        "spring_config_location",
        "Spring.Config.Additional-Location",
        "spring.application.json",
        "SPRING.APPLICATION_JSON",
        "logging.config",
        "loader.path",
        "log4j2.configurationFile",
        "LOG4J_CONFIGURATION_FILE",
        "quarkus.http.port",
        'quarkus.datasource."other".jdbc.url',
        "smallrye.config.locations",
        "micronaut.config.files",
        "management.endpoints.web.exposure.include",
        "aspnetcore_hostingstartupassemblies",
        "DotNet_Startup_Hooks",
        "npm_config_registry",
        "LD_PRELOAD",
        "pnpm_config_registry",
        "PSModulePath",
    ],
)
def test_is_steering__knows_each_spelling_that_a_program_reads(name: str) -> None:
    assert is_steering(name)


@pytest.mark.parametrize(
    "name",
    [
        "IBM_JAVA_OPTIONS",  # https://eclipse.dev/openj9/docs/cmdline_specifying/
        "OPENJ9_JAVA_OPTIONS",
        "BPL_DEBUG_ENABLED",  # https://paketo.io/docs/howto/java/
        "BUNDLER_SETUP",  # lib/rubygems.rb requires the file that it names
        "TRUFFLERUBYOPT",
        "RCLONE_PASSWORD_COMMAND",  # https://rclone.org/docs/#password-command-string
        "RESTIC_PASSWORD_COMMAND",
        "BORG_PASSCOMMAND",
        "S6_STAGE2_HOOK",  # https://github.com/just-containers/s6-overlay
        "XDEBUG_CONFIG",
        "GOAUTH",  # go help goauth: a command
        "GNUPGHOME",
        "NUMBA_CACHE_DIR",  # pickles
        "RAY_RUNTIME_ENV_HOOK",
        "INVOKE_RUN_SHELL",
        "LESSKEYIN",
        "CFLAGS",
        "GCE_METADATA_HOST",
        "STORAGE_EMULATOR_HOST",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_JAVAAGENT_EXTENSIONS",
        "MONO_ENV_OPTIONS",
        "R_TESTS",
        "SQLPATH",
    ],
)
def test_is_steering__knows_what_makes_tools_run_code_or_send_data_elsewhere(name: str) -> None:
    assert is_steering(name)


@pytest.mark.parametrize(
    "name",
    [
        "SPRINGFIELD",
        "spring",
        "API_URL",
        "logging.level.root",
        "ld_preload",
        "CAMELS",
        "dotnet",
        "OTEL_SERVICE_NAME",
        "RELEASE_VERSION",
        "LESSON",
        "STACK_NAME",
    ],
)
def test_is_steering__leaves_other_names(name: str) -> None:
    """Programs that read a name in one spelling don't read it in another."""
    assert not is_steering(name)
