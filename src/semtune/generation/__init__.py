"""Text out of a loaded model: greedy, speculative and constrained decoding, log-likelihood ranking."""
