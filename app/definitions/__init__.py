"""Definitions: which are in force, and following the file that holds them."""
