"""A small server that speaks CARLA 0.9.16's wire protocol, for programs that use the `carla` client."""
