"""The training loop, its checkpoints and logs, and the evaluation."""
