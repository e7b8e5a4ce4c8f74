"""The Kubernetes API server as this service uses it: the only package that imports the official client."""
