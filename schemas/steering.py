"""The names of environment variables that steer loaders, interpreters and common tools.

Whoever sets one of these for a program can often make it run other code, or send its data elsewhere. This is the only
list of them. `docs/configuration.md` shows it, and `make docs` writes it there. No such list is ever complete: a
definition that must be sure names what requests may set in `EnvironmentsWhitelist`.

How freely Spring, MicroProfile Config and .NET read names:
https://docs.spring.io/spring-boot/reference/features/external-config.html,
https://github.com/eclipse/microprofile-config (mapping rules of environment variables),
https://learn.microsoft.com/dotnet/core/extensions/configuration-providers.

Sources: `initial_badenv_table` of sudo (plugins/sudoers/env.c), `unsecvars.h` of the GNU C Library, and the manuals of
the tools.
"""

import re
from functools import cache
from typing import NamedTuple


class Group(NamedTuple):
    """Variables of related programs.

    Attributes:
        programs: whose variables they are.
        patterns: their names, where `*` stands for any characters.
        ignores_case: whether these programs read the names in upper and in lower case.
        spelled_freely: whether these programs also read the names in any case, and with dots or dashes instead of
            underscores: `spring.config.location` is `SPRING_CONFIG_LOCATION`.
    """

    programs: str
    patterns: tuple[str, ...]
    ignores_case: bool = False
    spelled_freely: bool = False


STEERING_GROUPS = (
    Group(
        "dynamic loaders and C libraries",
        (
            "LD_*", "DYLD_*", "LDR_*", "_RLD*", "LIBPATH", "SHLIB_PATH", "GLIBC_TUNABLES", "GCONV_PATH", "GETCONF_DIR",
            "LOCPATH", "NLSPATH", "PATH_LOCALE", "MALLOC_*", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS",
            "RESOLV_HOST_CONF", "NIS_PATH", "TZDIR", "*SAN_OPTIONS", "*SAN_SYMBOLIZER_PATH", "OMP_TOOL*",
            "CUDA_INJECTION*", "NVTX_INJECTION*", "LTDL_LIBRARY_PATH", "KOKKOS_*",
        ),
    ),
    Group(
        "shells, terminals and init programs",
        (
            "PATH", "IFS", "ENV", "SHELL", "HOME", "XDG_*", "BASH_*", "BASHOPTS", "SHELLOPTS", "PS4", "PROMPT_COMMAND",
            "CDPATH", "GLOBIGNORE", "FPATH", "ZDOTDIR", "NULLCMD", "READNULLCMD", "TMPPREFIX", "TERMINFO*", "TERMCAP",
            "TERMPATH", "TEXTDOMAINDIR", "INPUTRC", "S6_*",
        ),
    ),
    Group(
        "programs that others call",
        (
            "BROWSER", "EDITOR", "*_EDITOR", "VISUAL", "PAGER", "*PAGER", "LESS", "LESSOPEN", "LESSCLOSE", "LESSKEY*",
            "*_ASKPASS", "EXINIT", "VIMINIT", "VIMRUNTIME", "EMACSLOADPATH", "MAILRC", "LYNX_CFG", "FZF_DEFAULT_*",
            "DBUS_*", "SCREENRC", "GNUPGHOME", "PASSWORD_STORE_*", "GROFF_*", "FFREPORT",
        ),
    ),
    Group(
        "Python",
        (
            "PYTHON*", "PIP_*", "UV_*INDEX*", "UV_FIND_LINKS", "UV_PYTHON*", "UV_CONFIG_FILE", "UV_ENV_FILE",
            "IPYTHONDIR", "JUPYTER_*", "MPLBACKEND", "MPLCONFIGDIR", "MATPLOTLIBRC", "PYTEST_*", "COVERAGE_PROCESS_*",
            "COVERAGE_RCFILE", "GUNICORN_CMD_ARGS", "UWSGI_*", "UVICORN_*", "DJANGO_SETTINGS_MODULE", "FLASK_*",
            "WERKZEUG_*", "DASK_*", "CELERY_CONFIG_MODULE", "SCRAPY_*", "AIRFLOW_*", "OTEL_PYTHON_*", "IMAGEIO_*_EXE",
            "TORCHINDUCTOR_*", "TRITON_*", "NUMBA_*", "RAY_*", "INVOKE_RUN_*", "INVOKE_TASKS_*", "PYENV_*", "CONDA_*",
            "CONDARC", "MAMBA_*", "MAMBARC", "PIPENV_*", "PIPX_*", "POETRY_*", "PDM_*", "TOX_*", "MYPYPATH", "PYLINT*",
            "HF_*", "HUGGINGFACE_*", "NLTK_DATA", "KERAS_HOME", "KERAS_BACKEND", "GRANIAN_*", "STREAMLIT_*",
        ),
    ),
    Group(
        "JavaScript",
        (
            "NODE_OPTIONS", "NODE_PATH", "NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED", "NODE_REPL_*",
            "NODE_V8_COVERAGE", "NODE_REDIRECT_WARNINGS", "NODE_COMPILE_CACHE", "NODE_ICU_DATA", "NODE_USE_ENV_PROXY",
            "NODE_CONFIG*", "CYPRESS_*", "TS_NODE_*", "YARN_*", "COREPACK_*", "BUN_*", "DENO_*", "ELECTRON_*",
            "CHROME_BIN", "CHROME_PATH", "PUPPETEER_*", "PLAYWRIGHT_*", "ESBUILD_BINARY_PATH", "SASS_BINARY_PATH",
            "PRISMA_*",
        ),
    ),
    Group(
        "npm",
        (
            "NPM_CONFIG_*", "NPM_EXECPATH", "NPM_NODE_EXECPATH", "PNPM_*",
        ),
        ignores_case=True,
    ),
    Group(
        "Java",
        (
            "JAVA_*", "*JAVA_OPTIONS", "JDK_JAVA*_OPTIONS", "_JAVA_*", "JRE_HOME", "CLASSPATH", "*_OPTS", "JVM_ARGS",
            "CATALINA_*", "JBOSS_*", "JETTY_*", "MAVEN_*", "M2_HOME", "GRADLE_*", "ORG_GRADLE_*", "ANT_*", "LEIN_*",
            "BPL_*", "JBP_*", "JYTHON*",
        ),
    ),
    Group(
        "Java frameworks",
        (
            "SPRING_*", "LOADER_*", "LOGGING_CONFIG", "LOGGING_FILE*", "MANAGEMENT_*", "LOG4J*", "QUARKUS_*",
            "SMALLRYE_*", "MP_CONFIG_*", "MICRONAUT_*", "CAMEL_*", "HELIDON_*", "CONFIG_FORCE_*",
        ),
        spelled_freely=True,
    ),
    Group(
        ".NET",
        (
            "DOTNET_*", "COMPlus_*", "CORECLR_*", "COR_ENABLE_PROFILING", "COR_PROFILER*",
            "ASPNETCORE_HOSTINGSTARTUP*", "ASPNETCORE_URLS", "ASPNETCORE_*PREVENTHOSTINGSTARTUP", "NUGET_*", "MONO_*",
            "PSMODULEPATH",
        ),
        ignores_case=True,
    ),
    Group(
        "Perl and Raku",
        (
            "PERL*", "RAKU*",
        ),
    ),
    Group(
        "Ruby",
        (
            "RUBY*", "GEM_*", "BUNDLE_*", "BUNDLER_*", "TRUFFLERUBYOPT", "JRUBY*", "IRBRC", "PRYRC", "RAKEOPT",
            "BOOTSNAP_*", "RBENV_*", "RVM_*",
        ),
    ),
    Group(
        "PHP",
        (
            "PHPRC", "PHP_INI_SCAN_DIR", "XDEBUG_*", "COMPOSER*", "WP_CLI_*",
        ),
    ),
    Group(
        "Go, Rust, Erlang, Haskell, OCaml",
        (
            "GODEBUG", "GOFLAGS", "GOENV", "GOPATH", "GOPROXY", "GOROOT", "GOTOOLCHAIN", "GOCACHE", "GOCACHEPROG",
            "GOMODCACHE", "GOAUTH", "GOVCS", "GOWORK", "GOINSECURE", "GOPRIVATE", "GONOSUMDB", "GONOPROXY", "GOSUMDB",
            "GOTOOLDIR", "CGO_*", "GCCGO*", "CARGO_*", "RUSTC*", "RUSTDOC*", "RUSTFLAGS", "RUSTUP_*", "ERL_*",
            "ELIXIR_*", "MIX_HOME", "MIX_PATH", "MIX_EXS", "HEX_HOME", "HEX_MIRROR*", "REBAR_*", "RELX_*",
            "RELEASE_COOKIE", "RELEASE_BOOT_SCRIPT*", "RELEASE_*VM_ARGS", "RELEASE_SYS_CONFIG", "RELEASE_ROOT",
            "RELEASE_DISTRIBUTION", "GHCRTS", "GHC_*", "STACK_ROOT", "STACK_YAML", "STACK_CONFIG", "CABAL_*", "OCAML*",
            "CAML*", "OPAM*",
        ),
    ),
    Group(
        "other interpreters",
        (
            "LUA_*", "R_ENVIRON*", "R_PROFILE*", "R_LIBS*", "R_HOME", "R_DEFAULT_PACKAGES", "R_TESTS", "R_BROWSER",
            "RENV_*", "RETICULATE_*", "JULIA_*", "OCTAVE_*", "MATLABPATH", "TCLLIBPATH", "TCL_LIBRARY", "TK_LIBRARY",
            "GUILE_*", "SBCL_HOME", "PLTCOLLECTS", "PLTADDONDIR", "AWKPATH", "AWKLIBPATH", "M4PATH", "GS_LIB",
            "GS_OPTIONS", "GNUPLOT_LIB", "MAGICK_*", "DART_VM_OPTIONS",
        ),
    ),
    Group(
        "build tools",
        (
            "MAKEFILES", "*MAKEFLAGS", "MFLAGS", "CMAKE_*", "GCC_EXEC_PREFIX", "COMPILER_PATH", "MSBUILD*", "CC",
            "CXX", "CPP", "CFLAGS", "CPPFLAGS", "CXXFLAGS", "LDFLAGS", "FFLAGS", "FCFLAGS", "CCC_*", "CPATH",
            "*_INCLUDE_PATH", "LIBRARY_PATH", "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "PKG_CONFIG*", "CCACHE_*",
            "DISTCC_*", "SCCACHE_*", "BAZEL_*", "CONFIG_SHELL", "CONFIG_SITE", "NIX_*", "GUIX_*",
        ),
    ),
    Group(
        "proxies",
        (
            "*_PROXY",
        ),
        ignores_case=True,
    ),
    Group(
        "certificates and TLS",
        (
            "SSL_*", "SSLKEYLOGFILE", "OPENSSL_*", "CURL_*", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "GNUTLS_*",
            "NSS_*", "P11_*", "PKCS11_*", "SOFTHSM*", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "KRB5*", "SASL_*",
        ),
    ),
    Group(
        "version control and file transfer",
        (
            "GIT_*", "SSH_*", "HG", "HGRCPATH", "HGEDITOR", "HGMERGE", "SVN_SSH", "CVS_RSH", "RSYNC_*", "NETRC",
            "WGETRC", "SYSTEM_WGETRC", "LFTP_*",
        ),
    ),
    Group(
        "archives, backups, parallel runs and typesetting",
        (
            "TAR_OPTIONS", "RCLONE_*", "RESTIC_*", "BORG_*", "ZIPOPT", "PARALLEL*", "TEXMF*", "TEXINPUTS",
            "shell_escape*", "openin_any", "openout_any",
        ),
    ),
    Group(
        "data processing in clusters",
        (
            "SPARK_*", "PYSPARK_*", "HADOOP_*", "HDFS_*", "MAPRED_*", "HIVE_*", "HBASE_*", "FLINK_*", "SLURM_CONF",
            "HYDRA_*",
        ),
    ),
    Group(
        "cluster and cloud tools",
        (
            "KUBECONFIG", "KUBERNETES_*", "KUBECTL_*", "HELM_*", "DOCKER_*", "TF_CLI_*", "TF_PLUGIN_*", "TF_DATA_DIR",
            "TF_REATTACH_PROVIDERS", "ANSIBLE_*", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_ENDPOINT_URL*", "AWS_CONTAINER_*", "AWS_WEB_IDENTITY_TOKEN_FILE", "AZURE_CONFIG_DIR",
            "AZURE_EXTENSION_DIR", "BOTO_CONFIG", "CLOUDSDK_*", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_EXTERNAL_*",
            "GCE_METADATA_*", "*_EMULATOR_HOST", "AWS_DATA_PATH", "AWS_EC2_METADATA_*", "AZURE_AUTHORITY_HOST",
            "IDENTITY_ENDPOINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "VAULT_*", "CONSUL_*", "NOMAD_*", "TERRAGRUNT_*",
            "PACKER_*", "PULUMI_*", "SOPS_*", "CONTAINERS_*", "CONTAINER_HOST", "BUILDAH_*", "BUILDKIT_*",
            "REGISTRY_AUTH_FILE",
        ),
    ),
    Group(
        "database clients",
        (
            "PGSERVICE*", "PGPASSFILE", "PGSYSCONFDIR", "PGOPTIONS", "PGSSL*", "PSQLRC", "MYSQL_HOME", "LIBMYSQL_*",
            "MYSQL_TEST_LOGIN_FILE", "ODBC*", "TNS_ADMIN", "ORACLE_HOME", "ORACLE_PATH", "SQLPATH", "FREETDS*",
            "TDSDUMP*", "REDISCLI_RCFILE", "LDAPCONF", "LDAPRC", "LDAPTLS*",
        ),
    ),
    Group(
        "native libraries with plug-ins",
        (
            "GTK_*", "GIO_*", "GST_*", "GDK_*", "QT_*", "LIBGL_*", "LIBVA_*", "VK_*LAYER*", "VK_ICD_*", "VK_*DRIVER*",
            "OCL_*", "OPENCL_*", "FONTCONFIG_*", "HDF5_PLUGIN_PATH", "GDAL_DRIVER_PATH", "GDAL_VRT_ENABLE_*",
            "GDAL_HTTP_*", "PROJ_LIB", "PROJ_DATA", "PROJ_NETWORK*", "ALSA_*", "OMPI_*", "PMIX_*", "I_MPI_*",
            "NCCL_*PLUGIN", "HSA_TOOLS_LIB", "SDL_DYNAMIC_API", "__EGL_*", "__GLX_*", "LADSPA_PATH", "LV2_PATH",
            "VAMP_PATH", "FREI0R_PATH", "GEGL_PATH", "BABL_PATH", "GBM_BACKENDS_PATH", "VDPAU_DRIVER_PATH",
            "FI_PROVIDER_PATH", "UCX_MODULE_DIR", "GSETTINGS_*",
        ),
    ),
    Group(
        "agents that observe programs",
        (
            "OTEL_EXPORTER_*", "OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_*", "OTEL_JAVAAGENT_*", "OTEL_DOTNET_*",
            "OTEL_NODE_*", "OTEL_PHP_*", "DD_*", "NEW_RELIC_*", "ELASTIC_APM_*", "SENTRY_DSN", "SENTRY_SPOTLIGHT",
            "APPLICATIONINSIGHTS_*", "SPLUNK_*", "SIGNALFX_*", "APPDYNAMICS_*", "INSTANA_*", "JAEGER_*", "PYROSCOPE_*",
        ),
    ),
)  # fmt: skip
"""Every such variable, by program."""


def is_steering(name: str) -> bool:
    """Return whether a variable of this name steers loaders, interpreters or common tools."""
    return _steering().fullmatch(name) is not None


@cache
def _steering() -> re.Pattern[str]:
    return re.compile("|".join(_to_expression(group) for group in STEERING_GROUPS))


def _to_expression(group: Group) -> str:
    names = "|".join(re.escape(pattern).replace(r"\*", ".*") for pattern in group.patterns)
    if group.spelled_freely:
        names = names.replace("_", "[^A-Za-z0-9]+")
    return f"(?{'i' if group.ignores_case or group.spelled_freely else ''}:{names})"
