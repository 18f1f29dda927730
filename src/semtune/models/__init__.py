"""Where weights come from, in which precision, and the tokenizer. Entry points: `loading.load` and `loading.prepare`."""
