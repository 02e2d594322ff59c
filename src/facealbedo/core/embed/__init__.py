"""Find where a landmark detector's points lie on the face model, by detection in renders and in photos."""
