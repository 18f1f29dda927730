"""Where weights come from, in which precision, and the encoder. Entry points: `loading.load` and `loading.prepare`."""
