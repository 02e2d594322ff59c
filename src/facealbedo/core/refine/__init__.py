"""From an unwrapped photo and a prior to a complete albedo."""
