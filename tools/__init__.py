"""What the repository's own upkeep needs, and no user of it."""
