"""The embedded face model and its albedo prior."""
