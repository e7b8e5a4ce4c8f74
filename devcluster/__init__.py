"""An embedded Kubernetes cluster for laptops and fast tests: an API server in memory, controllers and a node."""
