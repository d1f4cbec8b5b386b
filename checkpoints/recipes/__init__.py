"""Recipes that train the default weights, from nothing but this package."""
