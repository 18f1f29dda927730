"""Sources of weights, precisions, architectures, tokenizers. Entry points: `loading.load` and `loading.prepare`."""
