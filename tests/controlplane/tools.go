//go:build tools

// Package controlplane pins the programs of the Kubernetes control plane that the tests run against.
//
// Nothing here is compiled into the product: the imports keep the programs' modules in go.mod, and
// build.py builds each of them with "go build" into a cache outside the checkout.
package controlplane

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "sigs.k8s.io/kwok/cmd/kwok"
)
