"""Ways of changing a model's weights, one file each: full, lora, qlora, dora."""
