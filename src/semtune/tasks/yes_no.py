"""Words for true and false in the cells of a column of such, as programs and people write them, in lower case."""

from __future__ import annotations

TRUE = frozenset({"true", "1", "1.0", "yes", "y", "t", "x", "ja", "wahr", "oui", "vrai", "sí", "si", "sim"})
FALSE = frozenset({"false", "0", "0.0", "no", "n", "f", "nein", "falsch", "non", "faux", "não"})
