"""Recordings and stimuli in: readers, canonical datasets, splits, fitted preprocessing."""
