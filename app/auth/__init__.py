"""Decides who calls, and what the caller may do (docs/adr/0006-who-may-call.md, 0015-permissions-by-rbac.md)."""
