"""clipdrive: camera driving in CARLA, learned by TD3 with gradients that are clipped, measured and certified."""

__version__ = "0.1.0"
