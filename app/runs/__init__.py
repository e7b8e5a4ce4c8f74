"""Runs: starting, reading, listing, waiting for, cancelling and deleting them."""
