"""Hugging Face checkpoints: found or downloaded; unsafe or damaged files are refused; fingerprints."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from muka_fast.config.loading import expand_user
from muka_fast.errors import MachineError, ModelError, first_line
from muka_fast.models.integrity import TOKENIZER_FILES, WEIGHT_FILES, require_intact
from muka_fast.models.unusable import ADAPTER_CONFIG, HEAD, explain_file, explain_folder, only_onnx

MOST_TENSORS = 100_000
PICKLE_FILES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class Checkpoint:
    """A model folder.

    Attributes:
        folder: Local folder with ``config.json``.
        revision: Commit of a hub model, None for a local folder.
        where: Name of the model in messages.
    """

    folder: Path
    revision: str | None
    where: str
    trust_remote_code: bool = False

    @property
    def tokenizer(self) -> Checkpoint:
        """The folder that holds the tokenizer."""
        return self

    def files(self, patterns: tuple[str, ...]) -> list[Path]:
        """Return the files matching any of ``patterns``, sorted by name."""
        names = sorted(path for path in self.folder.iterdir() if path.is_file())
        return [path for path in names if any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)]

    def fingerprint(self, patterns: tuple[str, ...]) -> str:
        """Return a hash of the names and bytes of the files matching ``patterns``."""
        digest = hashlib.sha256()
        for path in self.files(patterns):
            with path.open("rb") as handle:
                digest.update(path.name.encode())
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        return digest.hexdigest()[:32]


def _download(model: str, revision: str | None, *, remote_code: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    patterns = ["*.json", *WEIGHT_FILES, *TOKENIZER_FILES, HEAD, *(["*.py"] if remote_code else [])]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except HFValidationError:
        raise ModelError("no such folder", where=model, hint="check the path, or give a hub id: owner/name") from None
    except GatedRepoError:
        raise ModelError("access to this model is restricted", where=model, hint="run 'hf auth login' first") from None
    except RevisionNotFoundError:
        raise ModelError(f"no revision {revision!r}", where=model, hint="check 'revision'") from None
    except LocalEntryNotFoundError:
        # An offline machine with a cached copy does not get here; a wrong name and a missing network look the same.
        raise MachineError(
            "neither a local folder nor in the cache, and the hub cannot be reached",
            where=model,
            hint="check the path, or download it once while online",
        ) from None
    except RepositoryNotFoundError:
        raise ModelError("no such folder, and no such model on the hub", where=model, hint="check the name") from None
    except Exception as error:  # noqa: BLE001 - the hub's client raises errors of its transport
        raise MachineError(
            f"cannot reach the hub: {first_line(error)}", where=model, hint="give a local folder"
        ) from None


def find_folder(
    model: str, *, revision: str | None = None, trust_remote_code: bool = False, role: str = "model"
) -> Checkpoint:
    """Return the local folder of a model, downloading it if it is a hub id that is not cached; its content is not read.

    Raises:
        ModelError: If the folder or repository is missing.
        MachineError: If the hub cannot be reached.
    """
    where = f"{role} {model}"
    folder = expand_user(model, where)
    commit = None
    if not folder.exists():
        folder = _download(model, revision, remote_code=trust_remote_code)
        commit = folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else revision
    elif not folder.is_dir():
        raise explain_file(folder, where)
    return Checkpoint(folder, commit, where, trust_remote_code)


def require_checkpoint(found: Checkpoint) -> Checkpoint:
    """Return a folder if it is one of a full model.

    Raises:
        ModelError: If it has no ``config.json``, holds an adapter, or is an output of ``amalgamate`` that is unfinished
            or damaged.
    """
    require_intact(found.folder, found.where)
    # With peft installed, transformers would load the base model that an adapter names, from wherever that is.
    if not (found.folder / "config.json").exists() or (found.folder / ADAPTER_CONFIG).exists():
        raise explain_folder(found.folder, found.where)
    return found


def find_checkpoint(
    model: str, *, revision: str | None = None, trust_remote_code: bool = False, role: str = "model"
) -> Checkpoint:
    """Return the local folder of a full model, downloading it if it is a hub id that is not cached.

    Raises:
        ModelError: If the folder or repository is missing, or as :func:`require_checkpoint`.
        MachineError: If the hub cannot be reached.
    """
    return require_checkpoint(find_folder(model, revision=revision, trust_remote_code=trust_remote_code, role=role))


def check_weights(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint without safetensors weights, or with damaged ones.

    Raises:
        ModelError: With the pickle files to convert, or the damaged file.
    """
    from safetensors import SafetensorError, safe_open

    weights = checkpoint.files(("*.safetensors",))
    if not weights:
        pickles = checkpoint.files(PICKLE_FILES)
        if pickles:
            raise ModelError(
                f"only pickle weights ({pickles[0].name}), which can run code when loaded",
                where=checkpoint.where,
                hint="convert them: load the model where you trust it, and save_pretrained(…) as safetensors",
            )
        if checkpoint.revision is not None:
            raise ModelError(
                "the repository has no safetensors weights",
                where=checkpoint.where,
                hint="convert the pickle weights where you trust them, or choose another revision",
            )
        if checkpoint.files(("*.onnx",)) or any((checkpoint.folder / "onnx").glob("*.onnx")):
            raise only_onnx(checkpoint.where)
        raise ModelError("the folder has no weights", where=checkpoint.where, hint="add model.safetensors")
    for path in weights:
        try:
            with safe_open(path, framework="numpy") as handle:
                tensors = len(handle.keys())
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"damaged weights: {error}", where=str(path), hint="copy or download the file again"
            ) from None
        if tensors > MOST_TENSORS:
            what = f"{tensors} tensors; at most {MOST_TENSORS} are loaded"
            raise ModelError(what, where=str(path), hint="give the weights of one classifier")
