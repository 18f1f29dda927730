"""The optional compiled part: loops between matrix products (`semtune.nn.kernels`). All else is in pyproject.toml.

It is plain C without Python or torch headers, called through ctypes. Every file is compiled once per element type and
instruction level, so that one library runs on every processor of its architecture. gcc and clang compile it. Where
there is no compiler, and on Windows, the same formulas run as torch operations: slower, the same results up to
rounding. The library knows which sources it was built from, so that one that an update left behind is noticed
(`semtune.runtime.sources`).

On macOS the loops run in one thread: Apple's clang has no OpenMP, and a second OpenMP runtime beside the one of torch
ends the process. SEMTUNE_OPENMP=off builds that variant elsewhere.
"""

import os
import platform
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NAMES = (
    "adamw",
    "adamw_8bit",
    "attention",
    "dropout",
    "elementwise",
    "int4",
    "loss",
    "low_rank",
    "nf4",
    "product",
    "rows",
    "short_attention",
)
FOLDER = "src/semtune/nn/kernels"
_sources = runpy.run_path("src/semtune/runtime/sources.py")
DIGEST = _sources["sources_digest"](Path(FOLDER), suffixes=_sources["C_SUFFIXES"])
OPENMP = ["-fopenmp"]
if sys.platform == "darwin" or os.environ.get("SEMTUNE_OPENMP") == "off":
    OPENMP = ["-fopenmp-simd"]  # needs no library
FLAGS = [*OPENMP, "-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
TYPES = {"bf16": [], "fp32": [("ELEMENT_FP32", "1")]}
AVX2 = ["-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mf16c", "-mlzcnt", "-mmovbe"]
AVX512 = [f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl")]
LEVELS: dict[str, list[str]] = {"base": []}
"""Flags by level. The names are those of `semtune.nn.kernels`."""
if sys.platform == "linux" and platform.machine() == "x86_64":
    LEVELS |= {"avx2": AVX2, "avx512": [*AVX2, *AVX512, "-mprefer-vector-width=512"]}


class BuildKernels(build_ext):
    """Compiles the sources for every element type and level into one library."""

    def build_extension(self, ext: Extension) -> None:
        def compile_variant(variant: tuple[str, str]) -> list[str]:
            element, level = variant
            return self.compiler.compile(
                ext.sources,
                output_dir=str(Path(self.build_temp) / f"{element}-{level}"),
                macros=[*TYPES[element], ("SUFFIX", f"_{element}_{level}")],
                extra_postargs=[*FLAGS, *LEVELS[level]],
                depends=ext.depends,
            )

        variants = [(element, level) for element in TYPES for level in LEVELS]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = [file for files in pool.map(compile_variant, variants) for file in files]
        objects += self.compiler.compile(
            [f"{FOLDER}/version.c"], output_dir=self.build_temp, macros=[("SEMTUNE_SOURCES", f'"{DIGEST}"')]
        )
        self.compiler.link_shared_object(objects, self.get_ext_fullpath(ext.name), extra_postargs=OPENMP)


extension = Extension(
    "semtune.nn.kernels._compiled",
    sources=[f"{FOLDER}/{name}.c" for name in NAMES],
    depends=[f"{FOLDER}/{name}.h" for name in ("adamw", "common", "four_bit", "mask", "matmul")],
    optional=True,
)

setup(
    ext_modules=[extension] if sys.platform in ("linux", "darwin") else [],
    cmdclass={"build_ext": BuildKernels},
)
