"""The command lines ``reconstruct`` and ``phosphene``."""
