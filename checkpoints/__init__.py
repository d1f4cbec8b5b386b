"""Known models: where they come from and under which licence."""
