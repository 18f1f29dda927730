"""The one training loop for all methods and readouts, and the states that it can begin from."""
