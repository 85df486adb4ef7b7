"""What is learned: the driving task, or any Gymnasium environment with continuous actions, behind one face."""
