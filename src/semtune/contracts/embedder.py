"""The contract of an embedder: which stored texts are near to another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from semtune.contracts.generation import StrategyGenerator

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Embedder(Protocol):
    """Similarities between texts, lexical or of embeddings. Constructed as `EmbedderClass()`; that loads nothing.

    Order of calls: `index`, then `similarities` and `save`; or `load`, then `similarities`.
    """

    name: ClassVar[str]
    uses_model: ClassVar[bool]
    """Whether it calls `generator.embed`, so that the run's own model must be loaded."""

    def index(self, texts: Sequence[str], generator: StrategyGenerator | None) -> None:
        """Store what comparing with `texts` needs. `generator` is None where not `uses_model`.

        Raises OptionError where a package is missing.
        """
        ...

    def similarities(self, text: str, generator: StrategyGenerator | None) -> npt.NDArray[np.float32]:
        """The similarity of `text` to each stored text, (stored texts,): higher is nearer, and finite."""
        ...

    def save(self, folder: Path) -> None:
        """Write to `folder`, which exists, what cannot be computed again from the texts alone."""
        ...

    def load(self, folder: Path, texts: Sequence[str]) -> None:
        """Read what `save` wrote; `texts` are those that were indexed. Raises ModelError, OptionError."""
        ...
