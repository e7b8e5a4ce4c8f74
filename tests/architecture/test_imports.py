"""The packages that importing a module loads."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in (*(ROOT / "app").rglob("*.py"), *(ROOT / "schemas").glob("*.py"))
)


def loaded_by(modules: list[str], environment: Mapping[str, str] | None = None) -> set[str]:
    """The top-level packages that importing these modules loads, in a fresh interpreter."""
    code = f"import sys, importlib; [importlib.import_module(name) for name in {modules}]; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **(environment or {})},
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


_LOADED_BY_GUNICORN = ("app.factory", "app.server.gunicorn_conf")  # the second one reads the environment


def test_modules_outside_of_api_and_factory__load_no_flask() -> None:
    """import-linter sees the import statements of our modules; this test sees everything that is loaded."""
    others = [name for name in MODULES if not name.startswith("app.api") and name not in _LOADED_BY_GUNICORN]
    assert len(others) > 60
    assert "app.kube.transport" in others
    assert loaded_by(others).isdisjoint({"flask", "werkzeug"})


def test_settings__load_neither_client_nor_server() -> None:
    """So reading the settings needs neither the Kubernetes client nor the server."""
    assert loaded_by(["app.settings"]).isdisjoint({"flask", "gunicorn", "kubernetes", "prometheus_client", "urllib3"})


_LIBRARIES = {
    *("gunicorn", "flask", "werkzeug", "jinja2", "markupsafe", "click", "itsdangerous", "blinker"),  # the server
    *("marshmallow", "yaml", "urllib3", "prometheus_client", "typing_extensions"),
    *("kubernetes", "durationpy"),  # its settings and its REST layer
    *("jsonschema", "jsonschema_specifications", "referencing", "rpds", "attr", "attrs"),
    *("idna", "rfc3339_validator", "six"),  # jsonschema loads them where the development tools have installed them
}
"""What the running service loads besides the standard library. Each costs memory in a pod of 76 MiB: a further one gets
a row in docs/adr/0004-libraries.md, measured."""


def test_service__loads_no_other_libraries() -> None:
    """The parts of the Kubernetes client that nobody uses, with what they load, took 11 MiB of the pod."""
    configuration = {"SLIMFAAS_JOBS_CONFIGURATION": '{"Configurations": {}}'}
    loaded = loaded_by(list(_LOADED_BY_GUNICORN), configuration)
    own = {
        name for name in loaded if name in ("app", "schemas", "__main__") or name.startswith(("_", "cython_runtime"))
    }
    assert loaded - own - sys.stdlib_module_names - _LIBRARIES == set()


def test_command_line__loads_neither_server_nor_client_for_its_help() -> None:
    """Its start is what a person waits for; `python -m benchmarks.command_line` measures it."""
    code = "import sys; from app.cli import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "argparse" in loaded
    assert loaded.isdisjoint(
        {"flask", "gunicorn", "http", "kubernetes", "marshmallow", "schemas", "slimfaas_jobs", "ssl", "urllib3", "yaml"}
    )


def test_client__needs_nothing_but_python() -> None:
    """So `pip install --no-deps` is enough for it and its commands."""
    code = (
        "import sys, slimfaas_jobs; from app.cli import main; "
        "sys.exit(main(['list', '--server', 'http://127.0.0.1:1', '--retry-for', '0']))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "Connection refused" in done.stderr) == (125, True), done.stderr
