"""OpenDRIVE with numpy alone: reading, geometry, and circuits and towns generated from a seed."""
