"""PEFT adapters of sequence classifiers: found with their base model, fingerprinted together, merged when loaded."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muka_fast.errors import MachineError, ModelError, first_line
from muka_fast.models.checkpoint import Checkpoint, check_weights, find_checkpoint
from muka_fast.models.head import read_labels
from muka_fast.models.integrity import TOKENIZER_FILES
from muka_fast.models.loading import VOCABULARY_FILES, build_skeleton, load_weights, read_config, read_tokenizer
from muka_fast.models.padding import match_inputs
from muka_fast.models.plain_config import MOST_CLASSES
from muka_fast.models.unusable import ADAPTER_CONFIG, MERGE_HINT
from muka_fast.runtime.parsing import UnreadableError, read_json
from muka_fast.uncertainty.features import classifier_layer

ADAPTER_WEIGHTS = "adapter_model.safetensors"
METHODS = ("LORA", "LOHA", "LOKR", "IA3")
"""Values of ``peft_type`` whose weights peft merges into the base model."""
MOST_RANK = 65_536
"""Largest rank: peft allocates the matrices before it reads the weights."""
_PLAIN_INITS = (True, False, "gaussian", "orthogonal", None)
"""Values of ``init_lora_weights`` that leave the base model's weights as they are and read no other file."""
_PREFIX = "base_model.model."
_WITHOUT_EFFECT = ("base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "peft_version")


@dataclass(frozen=True, kw_only=True)
class Adapter(Checkpoint):
    """A folder with ``adapter_config.json``, and its base model.

    Attributes:
        base: The base model's folder.
        settings: ``adapter_config.json``.
    """

    base: Checkpoint
    settings: dict[str, Any]

    @property
    def tokenizer(self) -> Checkpoint:
        """The adapter's folder if it holds a tokenizer, else the base model's."""
        return self if self.files(VOCABULARY_FILES) else self.base

    def fingerprint(self, patterns: tuple[str, ...]) -> str:
        """Return a hash of the files matching ``patterns`` of adapter and base model, and of the adapter's settings."""
        if patterns == TOKENIZER_FILES:
            own = self.tokenizer
            return own.fingerprint(patterns) if own is self.base else super().fingerprint(patterns)
        kept = {key: value for key, value in self.settings.items() if key not in _WITHOUT_EFFECT}
        parts = (super().fingerprint(patterns), self.base.fingerprint(patterns), json.dumps(kept, sort_keys=True))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def find_adapter(folder: Checkpoint, base: str | None) -> Adapter:
    """Check an adapter and find its base model.

    Args:
        folder: A folder with ``adapter_config.json``.
        base: Folder or hub id of the base model; default: the one that the adapter names.

    Raises:
        ModelError: If the adapter is damaged, stored as a pickle, or not one that peft merges into a sequence
            classifier, or if its base model is not usable.
        MachineError: If the hub cannot be reached.
    """
    where = folder.where
    if any(path.name != ADAPTER_WEIGHTS for path in folder.files(("*.safetensors",))):
        raise ModelError(
            "the folder holds both an adapter and a full model",
            where=where,
            hint=f"move one of them to a folder of its own: {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} are the adapter",
        )
    settings = _read_settings(folder)
    if not (folder.folder / ADAPTER_WEIGHTS).exists():
        pickled = (folder.folder / "adapter_model.bin").exists()
        raise ModelError(
            "only pickle weights (adapter_model.bin), which can run code when loaded"
            if pickled
            else f"the adapter has no weights: no {ADAPTER_WEIGHTS}",
            where=where,
            hint="save it again with save_pretrained(…, safe_serialization=True)",
        )
    check_weights(folder)
    named, revision = base, None
    if named is None:
        named, revision = settings.get("base_model_name_or_path"), settings.get("revision")
        if not isinstance(named, str) or not named:
            raise ModelError("the adapter names no base model", where=where, hint="name it: 'base: owner/name'")
        beside = folder.folder / named
        named = str(beside) if beside.is_dir() else named
    role = f"{where}: base model"
    try:
        found = find_checkpoint(
            named,
            revision=revision if isinstance(revision, str) else None,
            trust_remote_code=folder.trust_remote_code,
            role=role,
        )
    except (ModelError, MachineError) as error:
        hint = f"{error.hint}; 'base:' names another base model"
        raise type(error)(error.what, where=f"{role} {named}", hint=hint) from None
    check_weights(found)
    return Adapter(folder.folder, folder.revision, where, folder.trust_remote_code, base=found, settings=settings)


def _read_settings(folder: Checkpoint) -> dict[str, Any]:
    """Read and check ``adapter_config.json``."""
    path = folder.folder / ADAPTER_CONFIG
    try:
        settings = read_json(path)
    except UnreadableError as error:
        raise ModelError(f"{ADAPTER_CONFIG} is damaged: {error}", where=str(path), hint="copy it again") from None
    if not isinstance(settings, dict):
        raise ModelError(f"{ADAPTER_CONFIG} is not an object", where=str(path), hint="copy it again")
    kind, task = settings.get("peft_type"), settings.get("task_type")
    if kind not in METHODS:
        what = f"an adapter of type {kind}; merged are {', '.join(METHODS)}"
        raise ModelError(what, where=folder.where, hint="export its predictions, and give them under 'predictions:'")
    if task not in ("SEQ_CLS", None):
        raise ModelError(
            f"an adapter for the task {task}, not for sequence classification (SEQ_CLS)",
            where=folder.where,
            hint="use an adapter that was trained as a sequence classifier",
        )
    rank = settings.get("r", 1)
    if not isinstance(rank, int) or not 0 < rank <= MOST_RANK:
        what = f"{ADAPTER_CONFIG}: r is {rank!r}, not a number from 1 to {MOST_RANK}"
        raise ModelError(what, where=folder.where, hint="copy it again")
    # These settings make peft import modules, read other files or change the base model's weights.
    unusual = [key for key in ("megatron_config", "layer_replication", "alora_invocation_tokens") if settings.get(key)]
    if settings.get("init_lora_weights") not in _PLAIN_INITS:
        unusual.append("init_lora_weights")
    if unusual:
        key = unusual[0]
        what = f"{ADAPTER_CONFIG}: {key} is {settings[key]!r}; such adapters are not merged"
        raise ModelError(what, where=folder.where, hint=MERGE_HINT)
    return settings


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a file."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as handle:
        return {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118


def _head_name(config: Any, base: Checkpoint) -> str | None:
    """Return the name of the base model's classifier layer."""
    model = build_skeleton(config, base)
    layer = classifier_layer(model)
    return next((name for name, module in model.named_modules() if module is layer), None)


def read_adapter_config(adapter: Adapter) -> Any:
    """Return the base model's configuration with the number of classes of the adapter's head.

    The names of the classes come from ``config.json`` beside the adapter, if there is one, else from the base model if
    it has as many classes.

    Raises:
        ModelError: If a configuration is malformed, or names classes that the head does not have.
    """
    config = read_config(adapter.base)
    name = _head_name(config, adapter.base)
    shapes = _shapes(adapter.folder / ADAPTER_WEIGHTS)
    head = shapes.get(f"{_PREFIX}{name}.weight") if name else None
    if head is not None and (len(head) != 2 or not 0 < head[0] <= MOST_CLASSES):
        what = f"the adapter's head has the shape {list(head)}; its first number is that of the classes"
        raise ModelError(what, where=adapter.where, hint="save the adapter again")
    if head is not None and head[0] != config.num_labels:
        config.num_labels = head[0]  # names the classes LABEL_0 and so on
    own = adapter.folder / "config.json"
    if own.exists():
        names = read_config(Checkpoint(adapter.folder, None, adapter.where, adapter.trust_remote_code))
        labels = read_labels(own, adapter.where).get("id2label", names.id2label)
        if len(labels) != config.num_labels:
            what = f"config.json names {len(labels)} classes, the adapter's head has {config.num_labels}"
            raise ModelError(what, where=adapter.where, hint="correct id2label in config.json")
        config.id2label, config.label2id = names.id2label, names.label2id
        config.problem_type = names.problem_type
    return config


def load_adapter(adapter: Adapter, config: Any, device: Any, dtype: str = "float32") -> tuple[Any, Any]:
    """Load a base model, merge the adapter into it, and load the tokenizer.

    Returns:
        As :func:`muka_fast.models.loading.load_model`.

    Raises:
        ModelError: If the adapter does not fit the base model, or weights are in neither of the two.
        MachineError: If peft is not installed.
    """
    import torch

    require_peft(adapter.where)
    from peft import PeftModel, get_peft_model_state_dict

    stored = set(_shapes(adapter.folder / ADAPTER_WEIGHTS))
    base, missing = load_weights(adapter.base, config, any_shape=True)
    lost = sorted(name for name in missing if _PREFIX + name not in stored)
    if lost:
        raise ModelError(
            f"{len(lost)} weight(s) are neither in the adapter nor in the base model, for example {lost[0]}",
            where=adapter.where,
            hint=f"train the adapter again with modules_to_save={sorted({name.split('.')[0] for name in lost})}",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing weights are counted below
            model = PeftModel.from_pretrained(base, str(adapter.folder), torch_device="cpu", local_files_only=True)
        expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
        every = expected | {_PREFIX + name for name, _ in base.named_parameters()}
        merged = None if expected - stored or stored - every else model.merge_and_unload(safe_merge=True)
    except (ImportError, RuntimeError, ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"peft cannot merge the adapter: {first_line(error)}",
            where=adapter.where,
            hint=f"check that the base model is the adapter's own; it is {adapter.base.folder}",
        ) from None
    if merged is None:
        name = sorted((expected - stored) or (stored - every))[0]
        raise ModelError(
            f"the adapter does not fit the base model: {name} is only in one of them",
            where=adapter.where,
            hint=f"name the adapter's own base model with 'base:'; now it is {adapter.base.folder}",
        )
    tokenizer = read_tokenizer(adapter.tokenizer)
    match_inputs(merged, tokenizer)
    return merged.requires_grad_(False).to(device=device, dtype=getattr(torch, dtype)).eval(), tokenizer


def require_peft(where: str) -> None:
    """Raise if peft is not installed.

    Raises:
        MachineError: With the command that installs it.
    """
    try:
        import peft  # noqa: F401
    except ImportError:
        raise MachineError(
            "peft is not installed, which merges adapters", where=where, hint="pip install 'muka-fast[peft]'"
        ) from None
