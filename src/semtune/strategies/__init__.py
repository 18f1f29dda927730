"""Prompting strategies: ways of asking a model whose weights stay as they are. One file each, registered by name."""
