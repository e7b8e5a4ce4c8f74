"""The controllers of the embedded cluster: what kube-controller-manager is to a real one."""
