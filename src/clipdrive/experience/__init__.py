"""Driven experience: episodes on disk (the DVC data set), the workers that collect them, and the replay memory."""
