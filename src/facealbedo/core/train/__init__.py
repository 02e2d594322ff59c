"""Training of the refinement networks: what a step sees, the step, the loop and its checkpoint."""
