"""OpenDRIVE with numpy alone: reading, geometry, and circuits generated from a seed."""
