"""Layers and functions on tensors: linear layers, adapters, 4-bit weights, packed attention. Knows no model."""
