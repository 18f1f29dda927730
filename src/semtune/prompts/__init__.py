"""Text of an example and back: pure text, no tokens, no torch. One file per prompt."""
