"""Tensor mathematics with no opinion: low-rank autograd, NF4, attention over unpadded texts. torch only."""
