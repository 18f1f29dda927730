"""Ways of answering: how a prompt becomes a prediction. One file each, registered by name; every strategy has them."""
