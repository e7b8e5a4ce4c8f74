"""The dispatcher: admits queued runs when their dependencies are ready and a slot is free.

Start with `loop`. Its numbered steps are the cycle.

- Decide, without a thread, a clock or a call (`tests/model` explores them): `next_admission` (which run is admitted
  next), `term` (what is under way), `slots` (how many are free), `fence` (what an unknown predecessor may have sent),
  `leadership` and `lease` (taking and keeping the Lease), `intent` (what stands in it).
- Keep the view of the cluster: `view`, `run_store` with its `queues`, `workload_store`.
- Connect both with time and results: `admissions` (with `definition_backoff` and `parked_runs`), `election` (calls for
  the Lease), `writers` (calls for runs), `events`.
- End runs whose time is over: `queue_timeout_enforcer` and `start_deadline_enforcer`, both an `enforcer`.

The cluster is the queue: docs/adr/0001-cluster-is-the-queue.md. Why no slot is given away twice:
docs/adr/0005-intent-in-the-lease.md.
"""
