"""The state of every random generator that training draws from."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


class RandomState:
    """The process's global generators: Python's, NumPy's, and torch's on the CPU and on each GPU.

    Dropout masks are drawn from torch's CPU generator on every device (`nn.dropout`).
    """

    def state_dict(self) -> dict[str, Any]:
        """Tensors, lists and numbers alone, so that torch.save(weights_only) and the like can store them."""
        version, python, gauss = random.getstate()
        _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
        return {
            "python": {"version": version, "words": torch.tensor(python, dtype=torch.int64), "gauss": gauss},
            "numpy": {
                "words": torch.tensor(np.asarray(keys, dtype=np.int64)),
                "position": int(position),
                "has_gauss": int(has_gauss),
                "gauss": float(cached),
            },
            "torch_cpu": torch.get_rng_state(),
            "torch_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Set every generator; those of GPUs only where as many GPUs are here as there were."""
        python, numpy = saved["python"], saved["numpy"]
        random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
        words = numpy["words"].numpy().astype(np.uint32)
        np.random.set_state(("MT19937", words, numpy["position"], numpy["has_gauss"], numpy["gauss"]))
        torch.set_rng_state(saved["torch_cpu"])
        if torch.cuda.is_available() and len(saved["torch_cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(saved["torch_cuda"])
