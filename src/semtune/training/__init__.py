"""The one training loop for all methods and readouts, its optimizer, its batches and its checkpoints."""
