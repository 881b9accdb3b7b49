"""Graphs of lower precision: fp16 for GPUs, int8 for CPUs, with ways to lose less."""

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
    """A way to quantise: weights by output channel, activations by their range in each batch.

    Attributes:
        name: What the record calls it.
        seven_bits: Weights in 7 bits. CPUs without VNNI add 8-bit products in 16 bits, which overflow.
        narrowing: Keep products with more inputs than outputs (a feed-forward block's second one) in fp32.
        widening: Keep those with more outputs than inputs (its first one) in fp32, but not those of a fused attention.
    """

    name: str
    seven_bits: bool = False
    narrowing: bool = False
    widening: bool = False


# From small and fast to exact: of all parts the feed-forward products, quantised alone, moved a MiniLM's logits most.
SCHEMES = (
    QuantizationScheme("per channel"),
    QuantizationScheme("per channel, 7-bit weights", seven_bits=True),
    QuantizationScheme("per channel, narrowing products in fp32", narrowing=True),
    QuantizationScheme("per channel, feed-forward products in fp32", narrowing=True, widening=True),
)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Write a graph with the libraries' converters; whatever they raise becomes a refusal of this one form.

    But a full disk or memory is no fault of the form.

    The folder becomes the present one: onnx looks there whether a weight file of that name exists, and would refuse.
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
    """Write a graph's fp16 form; its inputs and outputs keep their types.

    Args:
        source: The fp32 graph.
        target: File to write.

    Raises:
        CheckFailed: If the converter cannot.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    source, target = source.resolve(), target.resolve()
    with _writing(target):
        half = convert_float_to_float16(str(source), keep_io_types=True)  # by path: a graph in memory ends at 2 GB
        onnx.save(half, target, save_as_external_data=_is_large(source), location=f"{target.name}.data")


def _is_large(graph: Path) -> bool:
    """Return whether a graph's weights lie beside it: then those of its other forms do too."""
    return graph.with_name(f"{graph.name}.data").exists()


def to_int8(source: Path, target: Path, scheme: QuantizationScheme = SCHEMES[0]) -> None:
    """Write a graph's dynamically quantised form.

    Args:
        source: The fp32 graph.
        target: File to write.
        scheme: What to keep exact.

    Raises:
        CheckFailed: If the quantiser cannot.
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
    """Return names of the products that stay in fp32."""
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        shape = shapes.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if shape is None or len(shape) != 2:
            continue
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        ins, outs = shape[::-1] if transposed else shape
        # The head's product is narrowing too, but small: it costs nothing in fp32.
        if (scheme.narrowing and ins > outs) or (scheme.widening and outs > ins and not node.name.endswith(_PRODUCT)):
            kept.append(node.name)
    return kept


_PRODUCT = ":qkv"


def _split_attention(model: Any) -> None:
    """Take fused Attention apart into its product, which can be quantised, and MultiHeadAttention.

    The quantiser's own form of Attention knows no attention bias, and drops it: padding would be read.
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
