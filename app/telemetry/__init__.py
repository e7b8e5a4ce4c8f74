"""Metrics, logs and traces. Imports nothing above it, so that every layer can use it."""
