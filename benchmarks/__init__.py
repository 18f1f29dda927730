"""Measurements side by side with other stacks. Nothing in here is installed with semtune."""
