"""Encoder families as embeddings, layers and head over packed rows.

An encoder is built from the weights of a loaded Hugging Face model. It shares them, except that query, key and value
are concatenated. Dropout sites are numbered in the order of the forward pass, sites with probability 0 included.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from muka_fast.kernels.layout import DropoutSpec
from muka_fast.uncertainty.encoder_parts import Attention, Encoder, Head, Layer, Linear, Norm
from muka_fast.uncertainty.packing import PackedBatch


def _linear(*modules: nn.Linear) -> Linear:
    """Concatenate the outputs of layers with the same input."""
    weights = [module.weight.detach() for module in modules]
    biases = [module.bias.detach() for module in modules if module.bias is not None]
    if len(modules) == 1:
        return Linear(weights[0], biases[0] if biases else None)
    return Linear(torch.cat(weights), torch.cat(biases) if biases else None)


def _norm(module: nn.LayerNorm) -> Norm:
    return Norm(module.weight.detach(), None if module.bias is None else module.bias.detach(), module.eps)


class _Sites:
    """Numbers the sites in the order of the calls."""

    def __init__(self) -> None:
        self._ids = count()

    def __call__(self, dropout: nn.Dropout | float) -> DropoutSpec:
        return DropoutSpec(next(self._ids), float(dropout if isinstance(dropout, float) else dropout.p))


def _embed(embeddings: Any, start: int | None = None) -> Callable[[PackedBatch], Tensor]:
    """Embed words, positions and any token types; positions count from the padding index ``start``, or from 0."""

    def embed(batch: PackedBatch) -> Tensor:
        ids = batch.inputs["input_ids"]
        total = embeddings.word_embeddings(ids)
        types = getattr(embeddings, "token_type_embeddings", None)
        if types is not None:
            given = batch.inputs.get("token_type_ids")
            total = total + (types(given) if given is not None else types.weight[0])
        if start is None:
            return total + embeddings.position_embeddings(batch.positions)
        real = ids.ne(start)
        counted = torch.cat([real[s.rows].view(s.count, s.length).cumsum(1).flatten() for s in batch.segments])
        return total + embeddings.position_embeddings(counted * real + start)

    return embed


def _post_norm_layer(layer: Any, heads: int, site: _Sites) -> Layer:
    inner, output = layer.attention.self, layer.attention.output
    qkv = _linear(inner.query, inner.key, inner.value)
    attention = Attention(qkv, _linear(output.dense), heads, site(inner.dropout), site(output.dropout))
    return Layer(
        attention, _norm(output.LayerNorm), _linear(layer.intermediate.dense), _linear(layer.output.dense),
        layer.intermediate.intermediate_act_fn, site(layer.output.dropout), _norm(layer.output.LayerNorm),
    )  # fmt: skip


def _layered(base: Any, embed: Callable[[PackedBatch], Tensor], site: _Sites) -> dict[str, Any]:
    """Return the parts that BERT, RoBERTa and ELECTRA have in common: all but the head."""
    embedding_site, projection = site(base.embeddings.dropout), getattr(base, "embeddings_project", None)
    return {
        "embed": embed,
        "embedding_norm": _norm(base.embeddings.LayerNorm),
        "embedding_site": embedding_site,
        "projection": None if projection is None else _linear(projection),
        "layers": tuple(_post_norm_layer(layer, base.config.num_attention_heads, site) for layer in base.encoder.layer),
        "final_norm": None,
        "cls_pooling": True,
    }


def _dense_head(head: Any, activation: Callable[[Tensor], Tensor], site: _Sites) -> Head:
    return Head(site(head.dropout), _linear(head.dense), activation, None, site(head.dropout), _linear(head.out_proj))


def bert(model: Any) -> Encoder:
    """BERT: a pooler, then dropout and the classifier."""
    site = _Sites()
    body = _layered(model.bert, _embed(model.bert.embeddings), site)
    pooler = _linear(model.bert.pooler.dense)
    return Encoder(**body, head=Head(None, pooler, torch.tanh, None, site(model.dropout), _linear(model.classifier)))


def roberta(model: Any) -> Encoder:
    """RoBERTa, XLM-RoBERTa and CamemBERT: positions count from the padding index; two dropouts in the head."""
    site, base = _Sites(), model.roberta
    body = _layered(base, _embed(base.embeddings, base.embeddings.padding_idx), site)
    return Encoder(**body, head=_dense_head(model.classifier, torch.tanh, site))


def electra(model: Any) -> Encoder:
    """ELECTRA: embeddings may be narrower than the layers; GELU in the head."""
    site = _Sites()
    body = _layered(model.electra, _embed(model.electra.embeddings), site)
    return Encoder(**body, head=_dense_head(model.classifier, model.classifier.activation, site))


def distilbert(model: Any) -> Encoder:
    """DistilBERT: no dropout after the attention's output projection, ReLU in the head."""
    site, base = _Sites(), model.distilbert
    embedding_site = site(base.embeddings.dropout)
    layers = []
    for layer in base.transformer.layer:
        inner, feed = layer.attention, layer.ffn
        qkv = _linear(inner.q_lin, inner.k_lin, inner.v_lin)
        attention = Attention(qkv, _linear(inner.out_lin), inner.n_heads, site(inner.dropout), None)
        layers.append(
            Layer(
                attention, _norm(layer.sa_layer_norm), _linear(feed.lin1), _linear(feed.lin2), feed.activation,
                site(feed.dropout), _norm(layer.output_layer_norm),
            )
        )  # fmt: skip
    head = Head(None, _linear(model.pre_classifier), torch.relu, None, site(model.dropout), _linear(model.classifier))
    norm = _norm(base.embeddings.LayerNorm)
    return Encoder(_embed(base.embeddings), norm, embedding_site, None, tuple(layers), None, True, head)


def mpnet(model: Any) -> Encoder:
    """MPNet: relative positions added to the scores, shared by all layers."""
    site, base = _Sites(), model.mpnet
    embedding_site = site(base.embeddings.dropout)
    longest: list[Tensor] = []

    def bias(length: int) -> Tensor:
        if not longest or longest[0].shape[-1] < length:
            probe = torch.empty(1, length, 1, device=base.device)
            longest[:] = [base.encoder.compute_position_bias(probe)[0].detach()]
        return longest[0][:, :length, :length]  # it depends on the distance alone

    layers = []
    for layer in base.encoder.layer:
        inner = layer.attention.attn
        attention = Attention(
            _linear(inner.q, inner.k, inner.v), _linear(inner.o), inner.num_attention_heads, site(inner.dropout),
            site(layer.attention.dropout), bias,
        )  # fmt: skip
        layers.append(
            Layer(
                attention, _norm(layer.attention.LayerNorm), _linear(layer.intermediate.dense),
                _linear(layer.output.dense), layer.intermediate.intermediate_act_fn, site(layer.output.dropout),
                _norm(layer.output.LayerNorm),
            )
        )  # fmt: skip
    embed = _embed(base.embeddings, base.embeddings.padding_idx)
    head = _dense_head(model.classifier, torch.tanh, site)
    return Encoder(embed, _norm(base.embeddings.LayerNorm), embedding_site, None, tuple(layers), None, True, head)


def _rotary(config: Any, local: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of ModernBERT's positions; transformers 4 and 5 keep the base in different places."""
    parameters = getattr(config, "rope_parameters", None)
    if parameters:
        one = parameters["sliding_attention" if local else "full_attention"]
        if one.get("rope_type", "default") != "default":
            raise NotImplementedError(one["rope_type"])
        base = one["rope_theta"]
    else:
        base = (config.local_rope_theta if local else None) or config.global_rope_theta
    size = config.hidden_size // config.num_attention_heads
    frequencies = 1.0 / base ** (torch.arange(0, size, 2, dtype=torch.float32, device=device) / size)
    positions = torch.arange(config.max_position_embeddings, dtype=torch.float32, device=device)
    angles = torch.outer(positions, frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def modernbert(model: Any) -> Encoder:
    """ModernBERT: normalised before each block, rotary positions, gated feed-forward, local and global layers."""
    site, base, config = _Sites(), model.model, model.config
    embedding_site = site(base.embeddings.drop)
    tables = {local: _rotary(config, local, model.device) for local in (False, True)}
    layers = []
    for index, layer in enumerate(base.layers):
        inner, feed = layer.attn, layer.mlp
        types = getattr(config, "layer_types", None)  # transformers 5
        local = types[index] == "sliding_attention" if types else bool(index % config.global_attn_every_n_layers)
        attention = Attention(
            _linear(inner.Wqkv), _linear(inner.Wo), config.num_attention_heads, site(float(config.attention_dropout)),
            site(inner.out_drop) if isinstance(inner.out_drop, nn.Dropout) else None,
            rotary=tables[local], window=config.local_attention // 2 if local else None,
        )  # fmt: skip
        norm = _norm(layer.attn_norm) if isinstance(layer.attn_norm, nn.LayerNorm) else None
        layers.append(
            Layer(
                attention, norm, _linear(feed.Wi), _linear(feed.Wo), feed.act, site(feed.drop), _norm(layer.mlp_norm),
                pre_norm=True, gated=True,
            )
        )  # fmt: skip
    dense, norm = _linear(model.head.dense), _norm(model.head.norm)
    head = Head(None, dense, model.head.act, norm, site(model.drop), _linear(model.classifier))
    return Encoder(
        lambda batch: base.embeddings.tok_embeddings(batch.inputs["input_ids"]),
        _norm(base.embeddings.norm), embedding_site, None, tuple(layers), _norm(base.final_norm),
        config.classifier_pooling == "cls", head,
    )  # fmt: skip


FAMILIES: dict[str, Callable[[Any], Encoder]] = {
    "bert": bert,
    "roberta": roberta,
    "xlm-roberta": roberta,
    "camembert": roberta,
    "electra": electra,
    "distilbert": distilbert,
    "mpnet": mpnet,
    "modernbert": modernbert,
}
"""Families by ``config.model_type``."""
