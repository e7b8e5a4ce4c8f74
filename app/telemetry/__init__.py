"""What operators see of the service: metrics, logs, traces. Knows nothing of the rest; every layer can use it."""
