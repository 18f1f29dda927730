"""The optional compiled part: loops between matrix products (`semtune.nn.kernels`). All else is in pyproject.toml.

It is plain C without Python or torch headers, called through ctypes. Where there is no compiler, or no Linux, the same
formulas run as torch operations: slower, the same results up to rounding. The library knows which sources it was built
from, so that one that an update left behind is noticed (`semtune.nn.kernels.sources`).
"""

import platform
import runpy
import sys

from setuptools import Extension, setup

NAMES = (
    "adamw",
    "adamw_8bit",
    "attention",
    "dropout",
    "elementwise",
    "loss",
    "low_rank",
    "nf4",
    "rows",
    "short_attention",
    "version",
)
FOLDER = "src/semtune/nn/kernels"
DIGEST = runpy.run_path(f"{FOLDER}/sources.py")["sources_digest"]()
FLAGS = ["-O3", "-std=gnu11", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
if platform.machine() == "x86_64":
    FLAGS.append("-mprefer-vector-width=512")

extension = Extension(
    "semtune.nn.kernels._compiled",
    sources=[f"{FOLDER}/{name}.c" for name in NAMES],
    depends=[f"{FOLDER}/{name}.h" for name in ("adamw", "common", "mask", "matmul")],
    define_macros=[("SEMTUNE_SOURCES", f'"{DIGEST}"')],
    extra_compile_args=FLAGS,
    extra_link_args=["-fopenmp"],
    optional=True,
)

setup(ext_modules=[extension] if sys.platform == "linux" else [])
