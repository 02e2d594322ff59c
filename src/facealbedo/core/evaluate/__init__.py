"""Ground truth by an independent renderer, baseline methods, and scores: what benchmarks are made of."""
