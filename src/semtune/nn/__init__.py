"""Layers and functions on tensors: linear layers, adapters, NF4, attention over packed batches. Knows no model."""
