"""Memory and time of a run before it runs: its own step on fake tensors (few layers, extrapolated), and advice."""
