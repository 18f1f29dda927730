"""`metrics.jsonl`: one line per step and per epoch, flushed at once, so that a killed run leaves its lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any

from semtune.training.loop import EpochEvent, StepEvent


class MetricsFile:
    """An observer of the loop that appends to a JSON-lines file."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def on_step(self, event: StepEvent) -> None:
        """{"kind": "step", …}, times in seconds."""
        self._write(
            {
                "kind": "step",
                "step": event.step,
                "epoch": event.epoch,
                "loss": event.loss,
                "grad_norm": event.grad_norm,
                "learning_rate": event.learning_rate,
                "tokens": event.tokens,
                "seconds": round(event.seconds, 6),
            }
        )

    def on_epoch(self, event: EpochEvent) -> None:
        """{"kind": "epoch", "dev_<primary metric>": …}, times in seconds."""
        self._write(
            {
                "kind": "epoch",
                "epoch": event.epoch,
                f"dev_{event.metric}": event.dev_score,
                "seconds": round(event.seconds, 6),
                "evaluate_seconds": round(event.evaluate_seconds, 6),
                "best": event.best,
            }
        )

    def close(self) -> None:
        """Flush and close."""
        self._file.close()

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
