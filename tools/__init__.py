"""Scripts for the maintenance of this repository."""
