"""The data contract: the form of configurations, requests and responses, and what a request may change.

Everything here is pure: no Flask, no Kubernetes client, and no I/O except reading configuration files and the schema.
"""
