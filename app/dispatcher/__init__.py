"""The dispatcher: admits queued runs when their dependencies are ready and a slot is free.

<<<<<<< HEAD
`term`, `lease_claim`, `intent`, `run_store` and `backoff` decide. They are pure: no thread, no clock, no call.
`tests/model` explores them. `loop`, `election` and `writers` carry out what they decide.
The cluster is the queue: docs/adr/0001-cluster-is-the-queue.md. Why no slot is given away twice:
docs/adr/0005-intent-in-the-lease.md.
=======
The cluster is the queue (docs/adr/0001-cluster-is-the-queue.md); what is decided is pure (`plan`, `readiness`), and
what is remembered between decisions is only what the cluster can't show yet.
>>>>>>> main
"""
