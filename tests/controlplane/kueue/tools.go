//go:build tools

// Package kueue pins the Kueue that the tests run beside the control plane.
//
// Nothing here is compiled into the product: the import keeps Kueue in go.mod, and process.py builds it.
package kueue

import _ "sigs.k8s.io/kueue/cmd/kueue"
