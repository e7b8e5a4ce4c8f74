"""Types that every layer shares."""

from typing import Any

Json = dict[str, Any]
"""A JSON object, such as a Kubernetes object as the API server sends it."""
