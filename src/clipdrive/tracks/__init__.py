"""Which road is driven: generated circuits, OpenDRIVE files and towns, and the route over it as arrays."""
