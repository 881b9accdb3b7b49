"""Fault campaigns on a tiny project: kills, a full disk, corrupted files, two runs at once, fuzzed input.

    python -m tests.faults.campaigns [--short] [--only NAME …] [--out benchmarks/results/reliability.json]
    python -m tests.faults.campaigns --show benchmarks/results/reliability.json

Every trial ends in one of these ways. ``same``: the result of an undisturbed run, byte for byte. ``refused``: one
error of what, where and fix, with its exit code. The others are faults of the package: ``different``, another result
without an error; ``traceback``, an error that it does not handle; ``hang``; ``stuck``, a refusal where the same command
should have resumed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.fuzz import damage, fuzz_corpora, fuzz_recipes, fuzz_records
from tests.faults.tally import FAULTS, Tally, page
from tests.faults.trials import KILLED, Fault, Outcome, forked, fresh, install, run
from tests.forks.processes import command

ROOT = Path(__file__).parents[2]
AMALGAMATE = ("amalgamate", "recipe.yaml", "-o", "out")
PREDICT = ("predict", "out", "play some jazz in paris", "--json")


def name(outcome: Outcome, equal: bool, *, must_succeed: bool = False) -> str:
    """Name how a trial ended."""
    if outcome.code is None:
        return "hang"
    if outcome.is_traceback:
        return "traceback"
    if outcome.code == 0:
        return "same" if equal else "different"
    if outcome.is_refusal:
        return "stuck" if must_succeed else "refused"
    return "traceback"


@dataclass(frozen=True)
class Project:
    """A tiny project and what an undisturbed run of it gives.

    Attributes:
        template: Two teachers, a base, texts and a recipe; nothing has run there.
        finished: The same after a run.
        unfinished: The same, killed in the training.
        work: Folder for trials.
        student: Hash of the student of the undisturbed run.
        answer: What the finished student predicts.
        operations: File operations of a run.
    """

    template: Path
    finished: Path
    unfinished: Path
    work: Path
    student: str
    answer: str
    operations: int

    def is_same(self, folder: Path) -> bool:
        """Return whether a folder has the student of the undisturbed run."""
        return student_hash(folder / "out") == self.student


def student_hash(out: Path) -> str:
    """Hash what a student is: weights, configuration, tokenizer."""
    found = hashlib.sha256()
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "selection.npz"):
        path = out / name
        found.update(name.encode() + (path.read_bytes() if path.exists() else b"none"))
    return found.hexdigest()


def prepare(folder: Path) -> Project:
    """Make the project, run it undisturbed, and once more up to a kill in the training."""
    from tests.helpers.projects import change_recipe, write_project

    template = folder / "template"
    template.mkdir(parents=True)
    write_project(template)
    lines = (template / "texts.jsonl").read_text(encoding="utf-8").splitlines()[:40]
    (template / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    training = {"max_steps": 3, "batch_size": 8, "evaluations": 3, "learning_rate": 1e-3, "validation_share": 0.2}
    change_recipe(template, uncertainty={"shard_size": 16}, training=training)
    counter = folder / "operations"
    finished = fresh(template, folder / "finished")

    def counted() -> int:
        install(Fault(), finished, counter, finished / "out" / "run.json")
        return command(*AMALGAMATE)

    done = forked(counted, finished)
    assert done.code == 0, done.text
    answer = run(finished, PREDICT)
    assert answer.code == 0, answer.text
    states = counter.read_bytes()
    operations = len(states)
    unfinished = folder / "unfinished"
    for at in range(1 + states.rindex(b"."), 0, -1):  # the last kill that leaves two checkpoints
        fresh(template, unfinished)
        run(unfinished, AMALGAMATE, Fault(at))
        if (
            len(list(unfinished.glob("out/checkpoints/checkpoint-*"))) >= 2
            and not (unfinished / "out/run.json").exists()
        ):
            break
    work = folder / "trials"
    work.mkdir()
    return Project(template, finished, unfinished, work, student_hash(finished / "out"), answer.text, operations)


def kills(project: Project, count: int | None, at_random: int, random_: random.Random) -> Tally:
    """Kill a run at file operations, all or some, and at random times; the same command must resume."""
    tally = Tally("kills")
    places = list(range(1, project.operations + 1))
    faults: list[tuple[Fault | None, float | None]] = [
        (Fault(at), None) for at in (places if count is None else sorted(random_.sample(places, count)))
    ]
    faults += [(None, random_.uniform(0.05, 2.0)) for _ in range(at_random)]
    for number, (fault, seconds) in enumerate(faults):
        folder = fresh(project.template, project.work / f"kill-{number}")
        what = f"killed at operation {fault.at}" if fault else f"killed after {seconds:.2f} s"
        first = run(folder, AMALGAMATE, fault, kill_after=seconds)
        if fault is not None and first.code != KILLED:
            tally.add("traceback" if first.is_traceback else "different", f"{what}: not killed", first.text)
            continue
        # A kill may come after the run is finished; the same command then refuses the finished run.
        finished_before = (folder / "out" / "run.json").exists()
        second = run(folder, AMALGAMATE)
        result = name(second, project.is_same(folder), must_succeed=not finished_before)
        if result == "refused":
            result = "same" if project.is_same(folder) else "different"
        tally.add(result, what, second.text)
        _remove(folder)
    return tally


def full_disk(project: Project, count: int | None, random_: random.Random) -> Tally:
    """Let the disk be full from an operation on; then there is space, and the same command must resume."""
    tally = Tally("full disk")
    places = list(range(1, project.operations + 1))
    for at in places if count is None else sorted(random_.sample(places, count)):
        folder = fresh(project.template, project.work / f"full-{at}")
        first = run(folder, AMALGAMATE, Fault(at, "full"))
        if first.code != 0 and not first.is_refusal:
            tally.add("hang" if first.code is None else "traceback", f"full from operation {at}", first.text)
        second = run(folder, AMALGAMATE) if first.code != 0 else first
        finished_before = first.code == 0 or (folder / "out" / "run.json").exists()
        result = name(second, project.is_same(folder), must_succeed=not finished_before)
        tally.add("same" if result == "refused" and project.is_same(folder) else result, f"full at {at}", second.text)
        _remove(folder)
    return tally


def _files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in (folder / "out").rglob("*") if path.is_file())


def corruptions(project: Project, finished: int, unfinished: int, random_: random.Random) -> Tally:
    """Damage a file of a finished run and predict, or one of an unfinished run and resume."""
    tally = Tally("corruptions")
    for template, count, arguments in (
        (project.finished, finished, PREDICT),
        (project.unfinished, unfinished, AMALGAMATE),
    ):
        folder = fresh(template, project.work / "damaged")
        files = [path for path in _files(template) if (template / path).stat().st_size]
        for number in range(count):
            path = files[number % len(files)]
            content = (template / path).read_bytes()
            kind, damaged = damage(content, random_)
            if damaged == content:
                continue
            (folder / path).write_bytes(damaged)
            outcome = run(folder, arguments)

            if arguments is PREDICT:
                equal = outcome.text.splitlines()[-1:] == project.answer.splitlines()[-1:]
            else:
                equal = project.is_same(folder)
            tally.add(name(outcome, equal), f"{kind} of {path}, then {arguments[0]}", outcome.text)
            if arguments is PREDICT:
                (folder / path).write_bytes(content)
            else:
                fresh(template, folder)
        _remove(folder)
    return tally


def two_runs(project: Project, count: int) -> Tally:
    """Start two runs in one folder: one finishes, the other is refused or finds the finished run."""
    tally = Tally("two runs at once")
    for number in range(count):
        folder = fresh(project.template, project.work / f"two-{number}")
        other = os.fork()
        if not other:
            os._exit(0 if run(folder, AMALGAMATE).code in (0, 2) else 1)
        second = fresh_log(folder, number)
        code = os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])
        result = name(second, project.is_same(folder))
        tally.add("traceback" if code else result, "two runs", second.text)
        tally.add("same" if project.is_same(folder) else "different", "the student of two runs", second.text)
        _remove(folder)
    return tally


def fresh_log(folder: Path, number: int) -> Outcome:
    """Run in a folder from a link of another name, so that the two runs have logs of their own."""
    link = folder.with_name(f"link-{number}")
    link.unlink(missing_ok=True)
    link.symlink_to(folder)
    return run(link, AMALGAMATE)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def campaigns(project: Project, *, short: bool, seed: int, count: int = 500) -> dict[str, Callable[[], Tally]]:
    """Return all campaigns by name, in the short form or the long one with so many kills."""
    folder = project.work / "fuzz"
    folder.mkdir()
    scale = 40 if short else 1
    record = project.finished / "out" / "run.json"

    def random_() -> random.Random:
        return random.Random(seed)

    return {
        "fuzzed recipes": lambda: fuzz_recipes(12_000 // scale, random_(), folder),
        "fuzzed texts": lambda: fuzz_corpora(10_000 // scale, random_(), folder),
        "fuzzed records": lambda: fuzz_records(record, 3_000 // scale, random_(), folder),
        "two runs at once": lambda: two_runs(project, 1 if short else 20),
        "full disk": lambda: full_disk(project, 2 if short else None, random_()),
        "kills": lambda: kills(
            project, 1 if short else None, 1 if short else max(0, count - project.operations), random_()
        ),
        "corruptions": lambda: corruptions(project, 14 if short else 1_700, 4 if short else 400, random_()),
    }


def revision() -> str:
    """Return the commit of the code, as git names it; ``–`` outside a repository."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "–"


def main() -> None:
    """Run the campaigns, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=500, help="in the long form, at least the file operations")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the campaigns; others in OUT are kept")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--show", type=Path, help="results to write docs/reliability.md from")
    options = parser.parse_args()
    if options.show is not None:
        results = json.loads(options.show.read_text(encoding="utf-8"))
        (ROOT / "docs" / "reliability.md").write_text(page(results), encoding="utf-8")
        return
    import tests.forks.preloaded  # noqa: F401
    from muka_fast.runtime.environment import versions

    with tempfile.TemporaryDirectory() as folder:
        project = prepare(Path(folder).resolve() / "project")
        stated = ", ".join(f"{name} {value}" for name, value in versions().items())
        results: dict[str, Any] = {"campaigns": {}, "revisions": {}}
        if options.only and options.out is not None and options.out.exists():
            results = json.loads(options.out.read_text(encoding="utf-8"))
        results |= {"operations": project.operations, "seed": options.seed, "versions": stated}
        wrong = 0
        for title, campaign in campaigns(project, short=options.short, seed=options.seed, count=options.kills).items():
            if options.only and title not in options.only:
                continue
            tally = campaign()
            results["campaigns"][tally.name] = dict(tally.counts)
            results["revisions"][tally.name] = revision()
            wrong += sum(tally.counts[one] for one in FAULTS)
            print(tally.name, dict(tally.counts), flush=True)
            for example in tally.examples:
                print(example, file=sys.stderr, flush=True)
            if options.out is not None:
                options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
