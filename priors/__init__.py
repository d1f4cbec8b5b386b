"""Embedding priors and the low-level structural branch."""
