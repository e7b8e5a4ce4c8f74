"""The packages that importing a module loads."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in (*(ROOT / "app").rglob("*.py"), *(ROOT / "schemas").glob("*.py"))
)


def loaded_by(modules: list[str]) -> set[str]:
    """The top-level packages that importing these modules loads, in a fresh interpreter."""
    code = f"import sys, importlib; [importlib.import_module(name) for name in {modules}]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_modules_outside_of_api_and_factory__load_no_flask() -> None:
    """import-linter sees the import statements of our modules; this test sees everything that is loaded."""
    others = [name for name in MODULES if not name.startswith("app.api") and name != "app.factory"]
    assert len(others) > 60
    assert "app.kube.transport" in others
    assert loaded_by(others).isdisjoint({"flask", "werkzeug"})


def test_settings__load_neither_client_nor_server() -> None:
    """So reading the settings needs neither the Kubernetes client nor the server."""
    assert loaded_by(["app.settings"]).isdisjoint({"flask", "gunicorn", "kubernetes", "prometheus_client", "urllib3"})
