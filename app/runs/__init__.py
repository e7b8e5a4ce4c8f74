"""What the service does, apart from HTTP: each module is one thing that a caller can want."""
