"""The client side: the bundled server's process, and sessions with a CARLA server. The only folder that
imports carla."""
