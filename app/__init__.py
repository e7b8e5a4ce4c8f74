"""SlimFaas Jobs: starts Kubernetes Jobs over HTTP, when their dependencies are ready and a slot is free."""
