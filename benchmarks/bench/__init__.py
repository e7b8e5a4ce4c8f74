"""The figures of the service as a whole, on one API server: `python -m benchmarks.bench` (docs/performance.md)."""
