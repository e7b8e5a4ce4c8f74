"""Schedules over HTTP: CronJobs that queue runs, made, read, paused and deleted by requests."""
