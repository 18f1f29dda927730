"""Readouts: how targets are read from a model, with loss and predictions together. One file per readout."""
