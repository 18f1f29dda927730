"""What the figures depend on besides the code: semtune's `environment()`, and the versions of all peers."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Any

from benchmarks.contestants.common import Settings, run_program

PEERS = ("accelerate", "peft", "trl", "datasets", "bitsandbytes")


def main(settings: Settings) -> dict[str, Any]:
    """The environment, as contestants see it."""
    import torch

    from semtune.measure.environment import environment

    torch.set_num_threads(settings.threads)
    found = environment()
    for name in PEERS:
        try:
            found["packages"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found["packages"][name] = None
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {**found, "load_average_before": load}


if __name__ == "__main__":
    run_program(main)
