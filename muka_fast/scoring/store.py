"""The score store: every teacher's signals for every text, in Parquet shards beside a manifest, resumable.

Each shard has one writer, which writes under a temporary name and renames. Which texts share a shard follows from the
text ids alone, so the bytes of a shard are the same whichever process computes it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from muka_fast.errors import ScoreStoreError
from muka_fast.runtime.files import atomic_write
from muka_fast.runtime.locks import is_lock_file
from muka_fast.runtime.parsing import UnreadableError, read_json
from muka_fast.uncertainty.signals import Signals

FORMAT = 4
MANIFEST = "manifest.json"
_PLACE = b"muka_fast"
"""Metadata key of a shard: the settings and texts, teacher and shard that it is of."""
DELETE_HINT = "choose another 'scores' folder, or delete this store"
_MATRICES = ("logits", "mean_probabilities", "features")


def texts_fingerprint(ids: np.ndarray, *, ordered: bool = False) -> str:
    """Return a hash of the set of text ids; of their sequence if their order counts."""
    return hashlib.sha256((ids if ordered else np.sort(ids)).astype("<u8").tobytes()).hexdigest()[:32]


def shards(ids: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut texts into shards: index arrays into ``ids``, which sorted by id are consecutive runs of ``size``."""
    order = np.argsort(ids, kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def differences(ours: Any, theirs: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """List where two JSON-like trees differ: (key path, our value, their value)."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = [*ours, *(key for key in theirs if key not in ours)]
        return [d for k in keys for d in differences(ours.get(k), theirs.get(k), f"{path}.{k}".lstrip("."))]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [d for i, pair in enumerate(zip(ours, theirs, strict=True)) for d in differences(*pair, f"{path}.{i}")]
    return [] if ours == theirs else [(path, ours, theirs)]


def is_unrelated_directory(folder: Path) -> bool:
    """Return whether a folder holds files, but no score store."""
    if not folder.is_dir() or (folder / MANIFEST).exists():
        return False
    return any(not entry.name.endswith(".tmp") and not is_lock_file(entry.name) for entry in folder.iterdir())


def _expected(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest as it is read back from its file."""
    found: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **manifest}))
    return found


def _is_joint(manifest: dict[str, Any]) -> bool:
    """Return whether the scores of a teacher depend on the others: with adaptive passes."""
    return manifest.get("adaptive") is not None


def _stored_manifest(folder: Path, wanted: dict[str, Any], hint: str, extend: bool) -> dict[str, Any] | None:
    """Return the manifest of a store that holds, or may hold, scores of ``wanted``; None if there is no store.

    Raises:
        ScoreStoreError: If the folder holds other scores, or other files.
    """
    path = folder / MANIFEST
    if is_unrelated_directory(folder):
        raise ScoreStoreError(
            "the folder is not empty and is no score store", where=str(folder), hint="choose another folder"
        )
    if not path.exists():
        return None
    try:
        stored = read_json(path)
    except UnreadableError as error:
        raise ScoreStoreError(f"unreadable manifest: {error}", where=str(path), hint=hint) from None
    if not isinstance(stored, dict):
        raise ScoreStoreError("unreadable manifest: it is no JSON object", where=str(path), hint=hint)
    unequal = differences(stored, wanted)
    if not _is_joint(wanted) and isinstance(stored.get("teachers"), list):
        known = all(teacher in stored["teachers"] for teacher in wanted["teachers"])
        if extend or known:
            unequal = [one for one in unequal if one[0].partition(".")[0] != "teachers"]
    if unequal:
        field, theirs, ours = unequal[0]
        raise ScoreStoreError(
            f"the stored scores differ from this run in {field!r}: stored {_short(theirs)}, now {_short(ours)}",
            where=str(path),
            hint=hint,
        )
    return stored


class ScoreStore:
    """A folder of scores that belong to one set of texts and settings, and to the teachers that its manifest lists.

    Each teacher has a sub-folder, named by its place in that list.

    Args:
        folder: Folder of the store; created if it does not exist.
        manifest: JSON-like data that the scores depend on, with a list of teachers.
        extend: Add teachers that the store lacks, if the scores of a teacher do not depend on the others: if
            ``manifest["adaptive"]`` is absent or None.

    Raises:
        ScoreStoreError: If the folder holds scores of another manifest; the message contains the first difference.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], *, extend: bool = False) -> None:
        self.folder = folder
        wanted = _expected(manifest)
        stored = _stored_manifest(folder, wanted, DELETE_HINT, extend)
        teachers = wanted["teachers"] if stored is None else list(stored["teachers"])
        teachers += [teacher for teacher in wanted["teachers"] if teacher not in teachers]
        self._places = [teachers.index(teacher) for teacher in wanted["teachers"]]
        settings = {key: value for key, value in wanted.items() if key != "teachers"}
        others = wanted["teachers"] if _is_joint(wanted) else None
        self._identities = [_checksum([settings, teacher, others])[:32] for teacher in wanted["teachers"]]
        if stored is None or stored["teachers"] != teachers:
            folder.mkdir(parents=True, exist_ok=True)
            content = json.dumps(settings | {"teachers": teachers}, indent=2, ensure_ascii=False)
            atomic_write(folder / MANIFEST, f"{content}\n".encode())

    @staticmethod
    def exists_for(folder: Path, manifest: dict[str, Any], hint: str = DELETE_HINT, *, extend: bool = False) -> bool:
        """Return whether a folder holds a store of this manifest, with all its teachers; write nothing.

        Args:
            folder: Folder of the store.
            manifest: JSON-like data that the scores depend on.
            hint: Hint of the error if the stored manifest differs.
            extend: As in the constructor.

        Raises:
            ScoreStoreError: If the folder holds a store of another manifest, or other files.
        """
        wanted = _expected(manifest)
        stored = _stored_manifest(folder, wanted, hint, extend)
        return stored is not None and all(teacher in stored["teachers"] for teacher in wanted["teachers"])

    def path(self, teacher: int, shard: int) -> Path:
        """Return the file of one teacher's scores for one shard."""
        return self.folder / f"teacher-{self._places[teacher]}" / f"shard-{shard:05d}.parquet"

    def write(self, teacher: int, shard: int, ids: np.ndarray, tokens: np.ndarray, signals: Signals) -> None:
        """Write a shard: ids, tokens of each text before truncation, and signals, rows in the same order."""
        columns = {"text_id": pa.array(ids, pa.uint64()), "tokens": pa.array(tokens, pa.int32())}
        for field in fields(Signals):
            values = getattr(signals, field.name)
            if field.name in _MATRICES:
                if not values.shape[1]:
                    continue  # Arrow does not keep the number of empty rows
                columns[field.name] = pa.FixedSizeListArray.from_arrays(
                    pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1]
                )
            else:
                columns[field.name] = pa.array(values)
        sink = pa.BufferOutputStream()
        table = pa.table(columns).replace_schema_metadata({_PLACE: self._place(teacher, shard)})
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        path = self.path(teacher, shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, sink.getvalue().to_pybytes())

    def read(self, teacher: int, shard: int, ids: np.ndarray) -> Signals | None:
        """Return a shard's signals in the order of ``ids``, or None if it is absent, damaged or misplaced."""
        try:
            table = pq.read_table(self.path(teacher, shard), page_checksum_verification=True)
            place = (table.schema.metadata or {}).get(_PLACE)
            if place != self._place(teacher, shard) or not np.array_equal(table["text_id"].to_numpy(), ids):
                return None
            values = {}
            for field in fields(Signals):
                if field.name == "features" and field.name not in table.column_names:
                    values[field.name] = np.zeros((len(ids), 0), dtype=np.float32)
                    continue
                column = table[field.name].combine_chunks()
                if field.name in _MATRICES:
                    values[field.name] = column.flatten().to_numpy().reshape(len(ids), -1)
                else:
                    values[field.name] = column.to_numpy()
            is_intact = all(
                column.dtype == (np.int32 if name == "passes" else np.float32) and np.isfinite(column).all()
                for name, column in values.items()
            )
            return Signals(**values) if is_intact else None
        except Exception:  # noqa: BLE001 - a damaged footer, which has no checksum, fails in many ways
            return None

    def _place(self, teacher: int, shard: int) -> bytes:
        return f"{self._identities[teacher]} {shard}".encode()

    def write_note(self, name: str, content: dict[str, Any]) -> None:
        """Keep a small JSON object, with its checksum, beside the shards."""
        note = {"content": content, "sha256": _checksum(content)}
        atomic_write(self.folder / f"{name}.json", (json.dumps(note) + "\n").encode())

    def read_note(self, name: str) -> dict[str, Any] | None:
        """Return a note, or None if it is missing or damaged."""
        try:
            note = read_json(self.folder / f"{name}.json")
            return note["content"] if note["sha256"] == _checksum(note["content"]) else None
        except (FileNotFoundError, UnreadableError, LookupError, TypeError):
            return None

    def tokens(self, teacher: int, shard: int) -> np.ndarray:
        """Return the number of tokens of each text of a stored shard, before truncation."""
        path = self.path(teacher, shard)
        return pq.read_table(path, columns=["tokens"], page_checksum_verification=True)["tokens"].to_numpy()


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
