"""Reads the parts of a request: query parameters, headers, body, and the connection's state."""
