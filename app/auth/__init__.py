"""Decides which callers are trusted with private definitions (docs/adr/0006-who-may-call.md)."""
