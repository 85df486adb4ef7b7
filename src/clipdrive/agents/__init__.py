"""The learning agents: networks, targets, TD3, and the one place where gradients are clipped and stepped."""
