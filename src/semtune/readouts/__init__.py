"""How targets come out of a model: loss and predictions together. One file per readout."""
