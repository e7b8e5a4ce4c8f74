"""Benchmarks of the whole service on an API server: `python -m benchmarks.bench` (docs/performance.md)."""
