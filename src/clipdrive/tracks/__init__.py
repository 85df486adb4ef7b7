"""Which road is driven: generated circuits and towns, files, a server's towns, and the route over it as arrays."""
