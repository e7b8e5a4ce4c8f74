"""The node of the embedded cluster; it runs containers as local processes."""
