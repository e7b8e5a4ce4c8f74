"""The data contract: what a configuration, a request and an answer look like, and what a request may change.

Everything here is pure: no I/O but reading the JSON Schema file beside this module, no Flask, no Kubernetes client.
"""
