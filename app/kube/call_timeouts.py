"""How long calls to the API server may take. `app.kube.deadlines` enforces it, however slowly a response arrives."""

CONNECT_SECONDS = 2.0
READ_SECONDS = 4.0
CALL_SECONDS = CONNECT_SECONDS + READ_SECONDS
"""The longest that one call can take, however slowly its response arrives. After it, the kernel gives up unsent bytes,
too."""

PAGE_SECONDS = 30.0
"""How long a page may take in all: lists are what a busy API server takes its time for. No write waits so long."""
