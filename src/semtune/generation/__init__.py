"""Text out of a loaded model: greedy, speculative and constrained decoding, sampling, log-likelihood ranking."""
