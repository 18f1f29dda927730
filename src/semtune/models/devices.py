"""The device that a run names. Apart from `models.loading`, which imports transformers: studies ask for it too."""

from __future__ import annotations

import torch

from semtune.errors import OptionError

_DEVICES = "auto, cpu, cuda or mps (Apple's GPU)"


def resolve_device(device: str) -> torch.device:
    """ "auto": the CUDA GPU if there is one, else the CPU. Raises OptionError: this machine has no such device."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise OptionError(f'There is no device "{device}"; give {_DEVICES}.') from error
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise OptionError(f'semtune does not run on the device "{device}"; give {_DEVICES}.')
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise OptionError("This machine has no Apple GPU that torch can use; give --device cpu (or auto).")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise OptionError("This machine has no GPU that torch can use; give --device cpu (or auto).")
    devices = torch.cuda.device_count() if chosen.type == "cuda" else 1
    if (chosen.index or 0) >= devices:
        raise OptionError(f'There is no device "{device}": this machine has {devices} of the kind; give auto.')
    return chosen
