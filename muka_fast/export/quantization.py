"""Graphs of lower precision: fp16 for GPUs, int8 for CPUs by schemes of increasing accuracy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muka_fast.errors import CheckFailed, machine_error
from muka_fast.export.graph import silence


@dataclass(frozen=True)
class QuantizationScheme:
    """How to quantise: weights by output channel, activations by their range in each batch.

    Attributes:
        name: Name in ``export.json``.
        seven_bits: Weights in 7 bits. CPUs without VNNI accumulate 8-bit products in 16 bits, which overflow.
        skip_down_projections: Keep products with more inputs than outputs (the second of a feed-forward block) in
            fp32.
        skip_up_projections: Keep products with more outputs than inputs (the first of a feed-forward block) in fp32,
            except those of a fused attention.
    """

    name: str
    seven_bits: bool = False
    skip_down_projections: bool = False
    skip_up_projections: bool = False


# From small and fast to exact. Of all products, the feed-forward ones changed a MiniLM's logits most when quantised.
SCHEMES = (
    QuantizationScheme("per channel"),
    QuantizationScheme("per channel, 7-bit weights", seven_bits=True),
    QuantizationScheme("per channel, down projections in fp32", skip_down_projections=True),
    QuantizationScheme(
        "per channel, feed-forward projections in fp32", skip_down_projections=True, skip_up_projections=True
    ),
)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Write a graph with a converter of onnxruntime; its exceptions become :class:`CheckFailed`.

    A full disk or memory stays an error of the machine. The working directory is the target's folder meanwhile:
    onnx refuses to write weights if the working directory has a file of their name.
    """
    with silence(), contextlib.chdir(target.parent):
        try:
            yield
        except Exception as error:
            if (known := machine_error(error)) is not None:
                raise known from error
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise CheckFailed(
                f"it cannot be converted: {reason[0][:200]}", where=str(target), hint="export without this precision"
            ) from error


def to_half(source: Path, target: Path) -> None:
    """Write the fp16 form of a graph; its inputs and outputs keep their types.

    Args:
        source: The fp32 graph.
        target: File to write.

    Raises:
        CheckFailed: If the converter fails.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    source, target = source.resolve(), target.resolve()
    with _writing(target):
        half = convert_float_to_float16(str(source), keep_io_types=True)  # by path: a graph in memory ends at 2 GB
        onnx.save(half, target, save_as_external_data=_is_large(source), location=f"{target.name}.data")


def _is_large(graph: Path) -> bool:
    """Return whether a graph's weights are in a file beside it, as those of its other forms are then."""
    return graph.with_name(f"{graph.name}.data").exists()


def to_int8(source: Path, target: Path, scheme: QuantizationScheme = SCHEMES[0]) -> None:
    """Write the dynamically quantised form of a graph.

    Args:
        source: The fp32 graph.
        target: File to write.
        scheme: Which products stay in fp32.

    Raises:
        CheckFailed: If the quantiser fails.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = source.resolve(), target.resolve()
    with _writing(target):
        model = onnx.load(source)
        _split_attention(model)
        # Fused operators have no shape inference: the quantiser would find shapes that contradict each other.
        del model.graph.value_info[:]
        quantize_dynamic(
            model,
            target,
            per_channel=True,
            reduce_range=scheme.seven_bits,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_kept(model, scheme),
            use_external_data_format=_is_large(source),
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )


def _kept(model: Any, scheme: QuantizationScheme) -> list[str]:
    """Return the names of the products that stay in fp32."""
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        shape = shapes.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if shape is None or len(shape) != 2:
            continue
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        ins, outs = shape[::-1] if transposed else shape
        # The head is a down projection too, but small: it costs nothing in fp32.
        if (scheme.skip_down_projections and ins > outs) or (
            scheme.skip_up_projections and outs > ins and not node.name.endswith(_PRODUCT)
        ):
            kept.append(node.name)
    return kept


_PRODUCT = ":qkv"


def _split_attention(model: Any) -> None:
    """Take fused Attention apart into its product, which can be quantised, and MultiHeadAttention.

    The quantised form of Attention drops the attention bias, so that padding would be attended to.
    """
    from onnx import helper

    nodes = []
    for node in model.graph.node:
        if node.op_type != "Attention" or node.domain != "com.microsoft":
            nodes.append(node)
            continue
        given: dict[str, Any] = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        x, weight, bias, _, _, added = [*node.input, "", "", ""][:6]
        product, parts = node.name + _PRODUCT, [f"{node.name}:{part}" for part in ("query", "key", "value")]
        nodes += [
            helper.make_node("MatMul", [x, weight], [product], name=product),
            helper.make_node("Split", [product], parts, name=f"{node.name}:split", axis=-1, num_outputs=3),
            helper.make_node(
                "MultiHeadAttention", [*parts, bias, "", added], node.output[:1], name=f"{node.name}:heads",
                domain="com.microsoft", **{key: given[key] for key in ("num_heads", "scale") if key in given},
            ),
        ]  # fmt: skip
    del model.graph.node[:]
    model.graph.node.extend(nodes)
