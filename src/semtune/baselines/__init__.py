"""Simple approaches without a language model, to say what a score is worth. One file per baseline."""
