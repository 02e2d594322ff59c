"""Strange files, kills and fuzzing: `make robustness` runs all of it, the tests here a short part."""
