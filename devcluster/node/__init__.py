"""The node of the embedded cluster: runs each container's image as a local process."""
