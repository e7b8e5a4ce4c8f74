"""The dispatcher: admits queued runs when their dependencies are ready and a slot is free.

Start with `loop`. Its numbered steps are the cycle.

- Decide, without a thread, a clock or a call (`tests/model` explores them): `admission_rules` (which runs are admitted
  next, and what holds a slot), `leadership` and `lease` (taking and keeping the Lease), `intent` (what stands in it).
- Keep the view of the cluster: `view`, `run_store`.
- Connect both with time and results: `admissions` (backoff, parked runs), `election` (calls for the Lease), `writers`
  (calls for runs), `events`, `start_deadline_enforcer`.

The cluster is the queue: docs/adr/0001-cluster-is-the-queue.md. Why no slot is given away twice:
docs/adr/0005-intent-in-the-lease.md.
"""
