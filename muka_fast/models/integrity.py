"""Output folders of ``amalgamate``, read as models: finished, and every file as it was written."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from muka_fast.errors import ModelError
from muka_fast.runtime.integrity import find_damage, parse_file_records
from muka_fast.runtime.parsing import UnreadableError, read_json

WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json")
TOKENIZER_FILES = (
    *("tokenizer*", "vocab*", "merges.txt", "bpe.codes"),
    *("special_tokens_map.json", "added_tokens.json", "*.model"),
)
RUN_RECORD = "run.json"
MARKER = ".muka-fast"
"""Empty file that marks an output folder from its start."""
RECORDED_SINCE = 2
"""Schema version of ``run.json`` from which on it holds the hashes of the other files."""
# A copy of the folder, from a hub for example, may lack what only the run itself reads.
_MODEL_FILES = (*WEIGHT_FILES, "config.json", *TOKENIZER_FILES)


def require_intact(folder: Path, where: str, *, only: tuple[str, ...] = _MODEL_FILES) -> None:
    """Refuse an output folder of ``amalgamate`` that is unfinished or has a damaged file; accept any other folder.

    Args:
        folder: Any model folder.
        where: Its name in messages.
        only: Patterns of the files to compare.

    Raises:
        ModelError: With the damaged file and how to fix it.
    """
    path = folder / RUN_RECORD
    if not path.exists():
        if (folder / MARKER).exists():
            hint = "run the same 'amalgamate' command again to finish it"
            raise ModelError("the folder holds an unfinished run", where=where, hint=hint)
        return
    try:
        tree = read_json(path)
        if isinstance(tree, dict) and tree.get("schema_version") != RECORDED_SINCE:
            return  # of a version without hashes, or one that this version cannot read: the model is an ordinary one
        records = parse_file_records(tree)
    except (UnreadableError, FileNotFoundError, ValueError) as error:
        raise ModelError(f"the run's record is damaged: {error}", where=str(path), hint="amalgamate again") from None
    wanted = {name: one for name, one in records.items() if any(fnmatch.fnmatch(name, pattern) for pattern in only)}
    damage = find_damage(folder, wanted)
    if damage:
        hint = "restore the file, or amalgamate again; a model changed on purpose belongs in a folder of its own"
        raise ModelError(damage, where=where, hint=hint)
