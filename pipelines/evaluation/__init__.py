"""Scores that can be trusted: suites, controls, audits, comparisons."""
