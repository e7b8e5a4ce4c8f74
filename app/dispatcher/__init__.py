"""The dispatcher: admits queued runs when their dependencies are ready and a slot is free.

Start with `loop`. Its numbered steps are the cycle.

- Decide, without a thread, a clock or a call (`tests/model` explores them): `next_admission` (which run is admitted
  next), `term` (what is under way), `slots` (how many are free), `fence` (what an unknown predecessor may have sent),
  `leadership` and `lease` (taking and keeping the Lease), `intent` (what stands in it).
- Keep the view of the cluster: `cluster_watches`, `run_store` (with `queues` and `queue_deadlines`), `workload_store`.
  `change_signal` wakes the loop.
- Connect both with time and results: `admissions` (with `definition_backoff`, `parked_runs` and `ignored_gates`),
  `election` (calls for the Lease), `writers` (calls for runs; `write` is one of them), `events` (says why runs wait).
- End runs whose time is over: `queue_timeout_enforcer` and `start_deadline_enforcer` (with `start_deadline`), both an
  `enforcer`.
- Notice the ends of runs: `run_ends` (each once), `end_reporter` (metrics, log lines). Notify receivers: `undelivered`
  (the ends to be told), `deliveries` (decides), `notifier` (does).
- Keep the CronJobs of schedules: `schedule_keeper`, `schedule_term`, `schedule_events`.
- Measure: `queue_metrics`, `start_latency`, `notification_metrics`.

The cluster is the queue: docs/adr/0001-cluster-is-the-queue.md. Why no slot is given away twice:
docs/adr/0005-intent-in-the-lease.md.
"""
