"""Fuzzed recipes, texts and records: what cannot be read is refused in words."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

from muka_fast.config.loading import build_recipe, read_recipe, template
from muka_fast.config.specs import DataSpec
from muka_fast.data.corpus import read_corpus
from muka_fast.errors import MukaError, machine_error
from muka_fast.evaluation.run_record import read_run_record
from tests.faults.tally import Tally

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, float("nan"), 10**30, "", " ", "\x00", "\ud800", "../..", "/dev/null",
    "hub:", "a" * 5000, [], {}, [[]], {"a": {"b": []}}, ["x", "x"], "http://x/y", "~nobody/x", "2020-13-45", b"\xff",
)  # fmt: skip


def fuzz_recipes(count: int, random_: random.Random, folder: Path) -> Tally:
    """Change keys and values of a recipe; it is read, or refused in words."""
    tally = Tally("fuzzed recipes")
    whole = yaml.safe_load(template())
    whole |= {
        "teachers": ["a/b", {"model": "c/d", "labels": ["x", "y"]}], "uncertainty": {"passes": 3, "adaptive": False},
        "training": {"epochs": 1}, "selection": {"method": "muka"}, "labels": {"same_name": "merge"},
        "student": {"model": "owner/base", "max_length": 64},
        "data": {"texts": ["hub:owner/texts"], "text_column": "text"},
    }  # fmt: skip
    text = template().encode()
    build_recipe(whole, where="r.yaml", base=folder)  # what is changed is valid
    for number in range(count):
        try:
            if number % 3 == 0:
                path = folder / "r.yaml"
                _, damaged = damage(text, random_)
                path.write_bytes(damaged)
                read_recipe(path)
            else:
                build_recipe(_mutate(whole, random_), where="r.yaml", base=folder)
            tally.add("same", "")
        except MukaError:
            tally.add("refused", "")
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is a fault
            tally.add("refused" if machine_error(error) else "traceback", f"recipe {number}", repr(error))
    return tally


def _mutate(tree: Any, random_: random.Random) -> Any:
    """Return a copy of a tree with one to three changes."""
    changed = json.loads(json.dumps(tree))
    for _ in range(random_.randint(1, 3)):
        node = changed
        while isinstance(node, dict | list) and node:
            key = random_.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if not isinstance(node[key], dict | list) or not node[key] or random_.random() < 0.3:
                if random_.random() < 0.2 and isinstance(node, dict):
                    node[random_.choice(["x", "", "model", "texts", 7])] = node.pop(key)
                else:
                    node[key] = random_.choice(STRANGE)
                break
            node = node[key]
    return changed


PIECES = (
    "text", "label", ",", ";", "\t", "|", '"', "'", "\n", "\r\n", "\r", "\\", "{", "}", "[", "]", ":", "null", "NaN",
    "a", "é", "日本", "\x00", "\ufeff", "\u2028", " ", "1", "-1e999", "true", '"text": "a"',
    '{"text": "b", "label": 1}\n',
    "x,y\n",
)  # fmt: skip


def fuzz_corpora(count: int, random_: random.Random, folder: Path) -> Tally:
    """Write files of random pieces and bytes; they are read, or refused in words."""
    tally = Tally("fuzzed texts")
    for number in range(count):
        suffix = random_.choice(("csv", "tsv", "jsonl", "json", "txt", "parquet", "csv.gz"))
        path = folder / f"t{number % 7}.{suffix}"
        content = "".join(random_.choice(PIECES) for _ in range(random_.randrange(60))).encode()
        if random_.random() < 0.3:
            content = damage(content or b"x", random_)[1]
        path.write_bytes(content)
        try:
            labelled = random_.random() < 0.3
            read_corpus(DataSpec(texts=[str(path)]), with_labels=labelled)
            tally.add("same", "")
        except MukaError:
            tally.add("refused", "")
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is a fault
            tally.add("refused" if machine_error(error) else "traceback", f"{suffix}: {content[:300]!r}", repr(error))
        path.unlink()
    return tally


def fuzz_records(record: Path, count: int, random_: random.Random, folder: Path) -> Tally:
    """Damage a run's record; it is read, or refused in words."""

    tally = Tally("fuzzed records")
    content = record.read_bytes()
    for number in range(count):
        path = folder / "run.json"
        _, damaged = damage(content, random_)
        path.write_bytes(damaged)
        try:
            read_run_record(path)
            tally.add("same", "")
        except MukaError:
            tally.add("refused", "")
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is a fault
            tally.add("traceback", f"record {number}", repr(error))
    return tally


def damage(content: bytes, random_: random.Random) -> tuple[str, bytes]:
    """Damage a file's content in one of seven ways."""
    kind = random_.choice(("bit", "byte", "cut", "empty", "zeros", "doubled", "text"))
    place = random_.randrange(max(1, len(content)))
    if kind == "bit":
        return kind, content[:place] + bytes([content[place] ^ (1 << random_.randrange(8))]) + content[place + 1 :]
    if kind == "byte":
        return kind, content[:place] + random_.randbytes(1) + content[place + 1 :]
    other = {
        "cut": content[:place], "empty": b"", "zeros": bytes(len(content)), "doubled": content * 2,
        "text": b'{"a": 1}\n',
    }  # fmt: skip
    return kind, other[kind]
