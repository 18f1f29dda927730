r"""Records live bytes, FLOPs and moved bytes of a run on fake tensors, one instant per operation.

Fake tensors (torch.\_subclasses.fake_tensor) have shapes and no bytes. A dispatch mode sees every operation below
autograd, those of backward and of the optimizer included. A storage counts from the operation that returns it until
Python frees it, as in a real run. What an operation of torch allocates and frees inside itself is not recorded;
`overhead` adds what matters of it. Operators of `nn` declare their cost (`nn.operator_registry`):

- a compiled operator by a function; its workspace is live at the one instant of the call;
- a composite operator by a formula in torch operations, which runs once for each combination of shapes and is memoised.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from semtune.nn.cuda_path import assume_cuda
from semtune.nn.operator_registry import OPERATORS, Operator, OperatorCost, tensor_bytes, traffic_bytes
from semtune.plan.fake_operations import directly
from semtune.plan.history import Section, without_repeated_chunks

_READS_A_NUMBER = torch.ops.aten._local_scalar_dense.default
_READS_DEVICE = torch.ops.prim.device.default
_IN_PLACE = {torch.ops.aten.addmm_: torch.ops.aten.addmm, torch.ops.aten.baddbmm_: torch.ops.aten.baddbmm}
"""Products that write to an argument, which torch's registry of FLOPs knows by their other form alone."""


FormulaSections = dict[tuple[Any, ...], Section]
"""Memoised sections of composite operators; the key is the overload with shapes, dtypes and values of its arguments."""


class Recorder:
    """Appends operations to `sections` while `recording`.

    Args:
        round_to: the device's allocator rounds every tensor up to a multiple of so many bytes.
        cuda: fake tensors take the CUDA code path.
        formulas: shared by recorders with the same `round_to` and `cuda`, so that each formula is run once.
    """

    def __init__(self, round_to: int = 64, *, cuda: bool = False, formulas: FormulaSections | None = None) -> None:
        self.sections: list[Section] = []
        self._round_to, self._cuda = round_to, cuda
        self._known_formulas: FormulaSections = {} if formulas is None else formulas
        self._live = 0
        self._counted: set[int] = set()
        """Addresses of the storages that count as live."""
        self._current: Section | None = None
        self.in_backward = False
        """Whether a backward runs, during which no section can begin."""
        self._cold = False
        """Whether an update runs within the backward; what it moves is cold."""

    @property
    def live_bytes(self) -> int:
        """Bytes of all live storages."""
        return self._live

    @contextlib.contextmanager
    def recording(self, *, fake: bool = True) -> Iterator[None]:
        """Record every operation inside.

        Args:
            fake: run on fake tensors; False keeps real ones, to compare a plan with the same step measured.
        """
        if not fake:
            with _DispatchRecorder(self, answers=False), _SectionMarker(self, answers=False):
                yield
            return
        with (
            FakeTensorMode(allow_non_fake_inputs=True) as mode,
            assume_cuda(self._cuda),
            _DispatchRecorder(self, fake=mode),
            _SectionMarker(self),
        ):
            yield

    def begin(self, name: str) -> None:
        """Begin a new section, which gets all further operations.

        Within a backward its section goes on, as its hooks differ in number with the model's depth; an "update" there
        is noted as cold until the next part.
        """
        if self.in_backward:
            self._cold = name == "update"
            return
        self._current = Section(name)
        self.sections.append(self._current)
        self._current.append("begin", self._live, OperatorCost())

    def on_operation(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Record an operation of torch, or a compiled operator, that has returned `out`."""
        outputs = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        operator = OPERATORS.get(func)
        if operator is not None and operator.cost is not None:
            self._record_declared(str(func), operator.cost(*args, out=out), outputs)
            return
        for x in outputs:
            self._count(x)
        section = self._current
        if section is None or (outputs and all(_device(x).type == "meta" for x in outputs)):
            return
        count = flop_registry.get(_IN_PLACE.get(func.overloadpacket, func.overloadpacket))
        if count is not None:
            flops = float(count(*args, **kwargs, out_val=out))
            section.append(str(func), self._live, OperatorCost(), product_flops=flops)
        elif not _is_view(func):
            inputs = tree_leaves((args, kwargs))
            written = outputs or _written(func, args)  # torch's fused AdamW returns nothing
            if written:
                cost = OperatorCost(moved_bytes=traffic_bytes(inputs, tuple(written)))
                section.append(str(func), self._live, cost, cold=self._cold)

    def _record_declared(self, name: str, cost: OperatorCost, outputs: list[Tensor]) -> None:
        """Record an operator with a declared cost. Each of its allocations is an instant of its own.

        Moved bytes count as those of torch's own operations: a new output twice (torch.empty_like reads its argument
        and writes a result), the workspace once (torch.empty). `speed` was compared with measured steps so.
        """
        sizes = []
        for x in outputs:
            self._count(x)
            sizes.append((2 * tensor_bytes(x), 0, self._live))
        if cost.workspace_bytes:
            workspace = self._rounded(cost.workspace_bytes)
            sizes.append((workspace, workspace, self._live))
            cost = replace(cost, workspace_bytes=workspace)
        section = self._current
        if section is None or cost == OperatorCost():
            return
        for moved, workspace, live in sizes:
            allocation = OperatorCost(moved_bytes=moved, workspace_bytes=workspace)
            section.append("allocate", live, allocation, cold=self._cold)
        section.append(name, self._live, cost, cold=self._cold)

    def on_composite(self, operator: Operator, args: tuple[Any, ...], mode: _DispatchRecorder) -> Any:
        """Run a composite operator's formula under `mode`, or append its memoised section if the shapes are known."""
        assert operator.formula is not None
        section = self._current
        if section is None:
            return mode.run_formula(operator.formula, args)
        key = (operator.overload, *(_signature(x) for x in args))
        known, start, live = self._known_formulas.get(key), len(section.operations), self._live
        if known is not None:
            out = operator.overload(*args)
            for x in tree_leaves(out):
                if isinstance(x, Tensor):
                    self._count(x)
            section.extend(known, live, cold=self._cold)
            return out
        cold, self._cold = self._cold, False
        out = mode.run_formula(operator.formula, args)
        self._cold = cold
        done = section.since(start, live)
        self._known_formulas[key] = without_repeated_chunks(done) if operator.chunked else done
        section.cut(start)
        section.extend(self._known_formulas[key], live, cold=cold)
        return out

    def _count(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        address = storage._cdata
        if _device(x).type == "meta" or address in self._counted:
            return
        self._counted.add(address)
        size = self._rounded(storage.nbytes())
        self._live += size
        weakref.finalize(storage, self._release, address, size).atexit = False

    def _rounded(self, size: int) -> int:
        return -(-size // self._round_to) * self._round_to

    def _release(self, address: int, size: int) -> None:
        self._counted.discard(address)
        self._live -= size


class _DispatchRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Passes every operation to the recorder.

    A fake tensor has no value, so `answers` makes reading one (`.item()`) return 0.
    """

    def __init__(self, recorder: Recorder, *, answers: bool = True, fake: FakeTensorMode | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder, self._answers, self._fake = recorder, answers, fake
        self._formulas = 0
        """Depth of nested formulas of composite operators."""

    def run_formula(self, formula: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Call a composite operator's formula; its operations are recorded too."""
        self._formulas += 1
        try:
            with self:
                return formula(*args)
        finally:
            self._formulas -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _READS_DEVICE:  # half of all that is dispatched, as `x.device` of a fake tensor is an operation
            return _device(args[0])
        if self._answers and func is _READS_A_NUMBER:
            # a loss that is finite, a token that is not end-of-sequence: the step goes on
            return 0.0 if args[0].dtype.is_floating_point else 0
        operator = OPERATORS.get(func)
        if operator is not None and operator.formula is not None:
            return self._recorder.on_composite(operator, args, self)
        kwargs = kwargs or {}
        if self._formulas and func.namespace != "prim":
            # Below autograd torch hands over its composite operations whole; torch.utils.flop_counter does the same.
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = NotImplemented if self._fake is None else directly(self._fake, func, args, kwargs)
        if out is NotImplemented:
            out = func(*args, **kwargs)
        self._recorder.on_operation(func, args, kwargs, out)
        return out


class _SectionMarker(TorchFunctionMode):
    """Begins the sections "backward" and "accumulate" before and after each `Tensor.backward`.

    `answers` makes `Tensor.numpy` of a fake tensor return zeros.
    """

    def __init__(self, recorder: Recorder, *, answers: bool = True) -> None:
        super().__init__()
        self._recorder, self._answers = recorder, answers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._answers and func is Tensor.numpy:
            import numpy as np

            return np.zeros(tuple(args[0].shape))
        backward: Any = Tensor.backward
        if func is not backward:
            return func(*args, **kwargs)
        self._recorder.begin("backward")
        self._recorder.in_backward = True
        try:
            out = func(*args, **kwargs)
        finally:
            self._recorder.in_backward = False
        self._recorder.begin("accumulate")
        return out


def _device(x: Tensor) -> torch.device:
    """`x.device`, of a fake tensor without a dispatch."""
    found: torch.device | None = getattr(x, "fake_device", None)
    return x.device if found is None else found


def _is_view(func: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _written(func: Any, args: Any) -> list[Tensor]:
    """The tensors among an operation's positional arguments that it writes to."""
    pairs = zip(func._schema.arguments, args, strict=False)
    changed = [value for argument, value in pairs if argument.alias_info is not None and argument.alias_info.is_write]
    return [x for x in tree_leaves(changed) if isinstance(x, Tensor)]


def _signature(argument: Any) -> Any:
    """What a formula's operations depend on: a tensor's shape, strides and dtype; any other argument itself."""
    if isinstance(argument, Tensor):
        return argument.shape, argument.stride(), argument.dtype
    return argument
