"""How labels come out of a model, loss and answer together. One file per readout; none asks which method it serves."""
