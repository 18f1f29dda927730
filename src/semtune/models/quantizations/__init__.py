"""Quantisations of the decoder's linear layers, one a file (`contracts.Quantization`, `registry.QUANTIZATIONS`)."""
