"""semtune on a CUDA GPU: `python benchmarks/gpu.py plan card speed profile --out FOLDER`, about 6 minutes on one H100.

- plan: peaks of whole runs by the allocator, and what the driver takes beside; `--predict` plans the same runs, on any
  machine, and compares.
- card: the course report's runs with the process limited to `--card-gb`.
- speed: seconds per step against PEFT, transformers and bitsandbytes in a plain loop, on the same texts.
- profile: calls and kernels of one step.

Models are shapes with random weights, drawn on the GPU, so that loading takes seconds. Each line of the record
`<section>.jsonl` is one run; a run that fails is a line with its error.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import gpu_cells, setting
from benchmarks.contestants.common import Settings

MODELS = {"small": gpu_cells.SMALL, "middle": gpu_cells.MIDDLE, "large": gpu_cells.LARGE}
SPEED = (
    *(("middle", variant) for variant in ("full", "lora", "qlora", "dora")),
    *(("large", variant) for variant in ("lora", "qlora")),
    *(("small", variant) for variant in ("lora", "qlora", "full", "dora")),
)
GIB = 1 << 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 also where single runs failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sections", nargs="+", choices=list(SECTIONS))
    parser.add_argument("--out", required=True, help="folder of the record")
    parser.add_argument("--work", help="folder with the data.json of `contestants.prepare` (default: made anew)")
    parser.add_argument("--card-gb", type=float, default=12.0, help="memory of the limited card, in GiB")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    setting.add_common_options(parser)
    options = parser.parse_args(arguments)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        if options.work is None and {"speed", "profile"} & set(options.sections):
            made = setting.prepare(Path(scratch), options.threads, setting.data_folder(options.data_dir), 0)
            if "error" in made:
                setting.say(f"The bench cannot start: {made['error']}")
                return 1
        options.work = options.work or scratch
        for section in options.sections:
            write_environment(out)
            with (out / f"{section}.jsonl").open("a", encoding="utf-8") as file:
                for row in SECTIONS[section](options):
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    setting.say(f"{section}: {json.dumps(row)[:300]}")
    return 0


def write_environment(out: Path) -> None:
    """What the figures depend on besides the code."""
    from benchmarks.contestants.surroundings import main as surroundings

    found = surroundings(Settings(work="", variant="", threads=setting.cores()))
    (out / "environment.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


def attempts(rows: Iterable[tuple[Any, Callable[[], dict[str, Any]]]]) -> Iterator[dict[str, Any]]:
    """Run each; an error becomes a row's."""
    import gc

    import torch

    for about, run in rows:
        started = time.perf_counter()
        try:
            found = run()
        except Exception as error:  # noqa: BLE001 - a run that fails is a row, whatever it raises
            found = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        seconds = round(time.perf_counter() - started, 2)
        gc.collect()
        torch.cuda.empty_cache()
        yield {"run": about, "result": found, "wall_seconds": seconds, "device_bytes_outside_torch": outside_bytes()}


def outside_bytes() -> int:
    """Device memory in use beside the allocator's: context, kernels, workspaces of libraries (of any process)."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return int(total - free - torch.cuda.memory_reserved())


def draw_on_the_gpu() -> None:
    """From here on the random weights of shapes are drawn by the GPU: other values, the same memory and speed."""
    import torch

    from semtune.models.sources.shape import RandomStream

    def tensors(self: Any) -> Iterator[tuple[str, torch.Tensor]]:
        for name, shape in self._shapes.items():
            device = "cuda" if torch.cuda.is_available() else "cpu"
            tensor = torch.ones(shape, dtype=torch.bfloat16, device=device)
            yield name, tensor.normal_(0.0, self._standard_deviation) if len(shape) > 1 else tensor

    RandomStream.__iter__ = tensors  # type: ignore[method-assign]


def plan(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Peaks and seconds of the grid."""
    yield from _cells([c for c in gpu_cells.PLAN if c["model"] in {MODELS[m] for m in options.models}])


def card(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The same on a card of --card-gb: the allocator gets what the context leaves of it."""
    import torch

    torch.zeros(1, device="cuda")
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((options.card_gb * GIB - outside_bytes()) / total)
    yield from _cells(gpu_cells.CARD)


def _cells(cells: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    from benchmarks.contestants import plan_cell

    draw_on_the_gpu()

    def run_of(cell: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
        return lambda: plan_cell.main(Settings(work="", variant="plan", threads=setting.cores(), spec=dict(cell)))

    return attempts((dict(cell), run_of(cell)) for cell in cells)


def speed(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """semtune and its peers in turn, twice."""
    from benchmarks.contestants import gpu_step

    draw_on_the_gpu()
    rows: list[tuple[Any, Callable[[], dict[str, Any]]]] = []
    for name, variant in SPEED:
        if name not in options.models:
            continue
        for round_ in (0, 1):
            for stack, run in gpu_step.STACKS.items():
                settings = Settings(options.work, variant, setting.cores(), seed=round_, model=MODELS[name])
                about = {"model": MODELS[name], "variant": variant, "stack": stack, "round": round_}
                rows.append((about, lambda run=run, settings=settings: run(settings)))  # type: ignore[misc]
    yield from attempts(rows)


def profile(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Host and device time of one step by operation."""
    from benchmarks.contestants import gpu_step

    draw_on_the_gpu()
    chosen = [(name, variant) for name, variant in SPEED if name in options.models and variant in ("lora", "qlora")]
    yield from attempts(
        (
            {"model": MODELS[name], "variant": variant},
            lambda name=name, variant=variant: gpu_step.profiled(  # type: ignore[misc]
                Settings(options.work, variant, setting.cores(), model=MODELS[name])
            ),
        )
        for name, variant in chosen
    )


SECTIONS: dict[str, Callable[[argparse.Namespace], Iterator[dict[str, Any]]]] = {
    "plan": plan, "card": card, "speed": speed, "profile": profile,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
