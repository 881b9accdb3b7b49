"""A PyTorch classifier as an ONNX graph: traced with free batch and length, operators fused, saved."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from muka_fast.errors import MachineError, ModelError, first_line

OPSET = 20
"""The newest operator set that the whole route (exporter, fusions, quantisation) handles."""
_ANY = 2**62
Outputs = Callable[[Any], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Graph:
    """A traced model.

    Attributes:
        program: Result of ``torch.onnx.export``, fused in place.
        fused: Number of operators by fusion, without zeros.
    """

    program: Any
    fused: dict[str, int]

    def save(self, path: Path) -> None:
        """Write the graph; weights of more than about 1.5 GB go to a second file beside it."""
        with silence():
            self.program.save(path)


class _Named(nn.Module):
    """A model that takes its inputs in order and returns a tuple of tensors."""

    def __init__(self, model: Any, names: Sequence[str], outputs: Outputs) -> None:
        super().__init__()
        self.model, self._names, self._outputs = model, tuple(names), outputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Take one tensor a name."""
        return tuple(self._outputs(self.model(**dict(zip(self._names, tensors, strict=True)))).values())


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress the exporter's output; errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def trace(
    model: Any,
    inputs: Sequence[str],
    where: str,
    *,
    output_names: Sequence[str] = ("logits",),
    outputs: Outputs = lambda out: {"logits": out.logits},
    opset: int = OPSET,
    fuse: str = "cpu",
) -> Graph:
    """Trace a sequence classifier.

    Args:
        model: In eval mode, fp32, on the CPU.
        inputs: Names of the tokenizer's outputs that the model takes.
        where: Name of the model in messages.
        output_names: Names of the graph's outputs.
        outputs: Maps the model's output to one tensor per name.
        opset: Version of the ONNX operators.
        fuse: ``none``, or ``cpu`` or ``cuda``: fuse operators into those that ONNX Runtime has kernels for.

    Raises:
        ModelError: If the model cannot be traced.
        MachineError: If onnx or onnxscript is missing.
    """
    try:
        import onnx  # noqa: F401
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass, LiftConstantsToInitializersPass
        from onnxscript.optimizer import optimize
        from onnxscript.rewriter.ort_fusions import optimize_for_ort
    except ImportError as error:
        raise MachineError(
            f"{error.name or 'onnxscript'} is not installed", where="ONNX export", hint="pip install 'muka-fast[onnx]'"
        ) from None
    # Two rows, the second one padded: sizes of 0 and 1 would be taken for constants, full rows for unmasked ones.
    example = {name: torch.ones(2, 7, dtype=torch.int64) for name in inputs}
    if "attention_mask" in example:
        example["attention_mask"][1, 5:] = 0
    if "token_type_ids" in example:
        example["token_type_ids"].zero_()
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}

    def exported() -> Any:
        return torch.onnx.export(
            _Named(model, inputs, outputs).eval(),
            tuple(example.values()),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=(tuple(free for _ in inputs),),
            input_names=list(inputs),
            output_names=list(output_names),
            verbose=False,
        )

    try:
        with silence(), torch.inference_mode(False), torch.no_grad():
            program, counts = exported(), {}
            if fuse != "none":
                program.model, counts = optimize_for_ort(program.model, fuse)
                if counts.get("cos_sin_cache"):
                    # It gives one row of positions to all texts, and the operator runs one text only (ModernBERT of
                    # transformers 4.57). There is no leaving out a single fusion.
                    program, counts = exported(), {}
                # Joined weights are left as sums of constants; folded, they can be quantised and load faster.
                program.model = optimize(program.model, input_size_limit=_ANY, output_size_limit=_ANY)
                LiftConstantsToInitializersPass()(program.model)
            ClearMetadataAndDocStringPass()(program.model)  # it names this machine's source files
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        raise ModelError(
            f"cannot be exported to ONNX: {first_line(error)[:300]}", where=where, hint="-v shows the cause"
        ) from error
    version = program.model.opset_imports.get("", opset)
    if version != opset:  # the exporter keeps what it cannot convert, with a warning
        raise ModelError(
            f"opset {opset} is not available, the graph has {version}",
            where=where,
            hint=f"--opset {version}, or leave it out",
        )
    return Graph(program, {name: count for name, count in counts.items() if count})
