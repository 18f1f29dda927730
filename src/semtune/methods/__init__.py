"""Ways of changing a model's weights, one file each; files with a leading underscore are shared by several."""
