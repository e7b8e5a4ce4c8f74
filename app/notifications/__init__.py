"""Notifications: what a receiver is sent when a run ends, and how it is reached. Nothing here is loaded without one."""
