"""The dispatcher: admits queued runs when their dependencies are ready and a slot is free.

The cluster is the queue (docs/adr/0001-cluster-is-the-queue.md); what is decided is pure (`plan`, `readiness`), and
what is remembered between decisions is only what the cluster can't show yet.
"""
