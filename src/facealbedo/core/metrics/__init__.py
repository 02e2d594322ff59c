"""Measures of results, one module a benchmark."""
