"""Update rules: one file each, and one line in `registry.OPTIMIZERS`."""
