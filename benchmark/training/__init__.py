"""One training run: the loop, the model, what is measured, and the state to resume from."""
