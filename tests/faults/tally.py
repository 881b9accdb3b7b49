"""Counts of a campaign's outcomes, and the page that shows them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from muka_fast.evaluation.tables import markdown_table

FAULTS = ("different", "traceback", "hang", "stuck")
"""Outcomes that are faults of the package."""


@dataclass
class Tally:
    """Counts of a campaign's outcomes.

    Attributes:
        name: Of the campaign.
        counts: Number of trials by outcome.
        examples: What was done and printed, of trials with a fault of the package.
    """

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, result: str, what: str, text: str = "") -> None:
        """Count a trial."""
        self.counts[result] += 1
        if result in FAULTS and len(self.examples) < 20:
            self.examples.append(f"{result}: {what}\n{text[-1500:]}")


def page(results: dict[str, Any]) -> str:
    """Return ``docs/reliability.md``."""
    names = ("same", "refused", *FAULTS)
    rows = [
        [name, str(sum(counts.values())), *(str(counts.get(one, 0)) for one in names), results["revisions"][name]]
        for name, counts in results["campaigns"].items()
    ]
    table = markdown_table(["campaign", "trials", *names, "commit"], rows)
    return f"""# Reliability

`make faults` runs fault campaigns on a tiny project: two teachers, 40 texts, three training steps. A run of it makes
{results["operations"]} file operations that Python code sees. `make test` runs a short form.

* `kills`: the process ends at each file operation, and at random times. The same command then resumes.
* `full disk`: from each file operation on, nothing can be opened to write. Then there is space, and the same command
  resumes.
* `corruptions`: a file of a finished run is damaged, and the student predicts; or one of an unfinished run, and it
  resumes.
* `two runs at once`: two processes start the same command in one folder; both count.
* `fuzzed recipes`, `texts`, `records`: changed keys, values and bytes; `same` counts what was read.

Outcomes: `same`: the result of an undisturbed run, byte for byte. `refused`: one error of what, where and fix, with its
exit code. The others are faults of the package: `different`: another result without an error. `traceback`: an error
that it does not handle. `hang`. `stuck`: a refusal where the same command should have resumed.

{table}

Versions: {results["versions"]}.

What this does not show: writes that fail below Python (in safetensors, Arrow and torch, or of an open file), losses of
power, processes of one run that are killed one by one, network file systems, and faults of GPUs.
"""
