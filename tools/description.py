"""Writes the OpenAPI document of the service to standard output: `python -m tools.description`."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from app.factory import create_app
from app.settings import Settings


def main() -> None:
    """Write the document. Neither an API server nor a definition is needed."""
    with TemporaryDirectory() as folder:
        kubeconfig = Path(folder, "kubeconfig")
        kubeconfig.write_text(
            json.dumps(
                {
                    "current-context": "none",
                    "contexts": [{"name": "none", "context": {"cluster": "none", "namespace": "default"}}],
                    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
                }
            ),
            "utf-8",
        )
        app = create_app(Settings(configuration='{"Configurations": {}}', kubeconfig=str(kubeconfig)))
        sys.stdout.write(app.test_client().get("/openapi.json").text)


if __name__ == "__main__":
    main()
