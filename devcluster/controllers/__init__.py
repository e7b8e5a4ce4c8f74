"""The controllers of the embedded cluster, in place of kube-controller-manager."""
