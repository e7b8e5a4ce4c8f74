"""Limits on queued runs and on requests that last."""
