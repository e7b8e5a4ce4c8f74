"""The dispatcher: admits queued runs when their dependencies are ready and a slot is free.

`term`, `leadership`, `lease`, `intent` and `run_store` decide. They are pure: no thread, no clock, no call.
`tests/model` explores them. `loop`, `election` and `writers` carry out what they decide.
The cluster is the queue: docs/adr/0001-cluster-is-the-queue.md. Why no slot is given away twice:
docs/adr/0005-intent-in-the-lease.md.
"""
