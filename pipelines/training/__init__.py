"""Training: one engine, and the commands that use it."""
