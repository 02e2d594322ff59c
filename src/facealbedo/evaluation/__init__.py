"""Benchmarks through the whole pipeline: every set makes rows, and rows become tables, pages and gates."""
