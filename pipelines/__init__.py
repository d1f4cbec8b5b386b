"""What people run: reconstruct, train, and the report of either."""
