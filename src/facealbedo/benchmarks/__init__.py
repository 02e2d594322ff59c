"""Measurements that write the numbers of `docs/benchmarks`."""
