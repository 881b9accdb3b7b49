"""Scores in parts, by processes that know nothing of each other: array jobs of a cluster, and tasks of Ray.

Part i of n has every n-th shard of the store. Which texts share a shard, and their scores, do not depend on the parts,
so a store that was filled in parts has the bytes of one that a single process filled, on one kind of device with one
number of threads; Ray gives a task one thread unless ``OMP_NUM_THREADS`` is set. A part that ran before, whole or not,
computes only what is missing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from muka_fast.config.recipe import Recipe
from muka_fast.errors import MachineError, MukaError
from muka_fast.pipeline.plan import log_plan, resolve_recipe
from muka_fast.pipeline.stages import score_plan_part
from muka_fast.runtime.library_messages import quiet_libraries
from muka_fast.runtime.locks import one_part
from muka_fast.runtime.progress import Progress

RETRIES = 20
"""How often a task of Ray is started again after its worker died."""
PARTS_PER_CPU = 4
"""Parts for each processor of a Ray cluster, so that workers which come late find work."""


@quiet_libraries()
def score_part(recipe: Recipe, number: int, count: int, *, progress: Progress | None = None) -> Path:
    """Fill one part of a recipe's score store; ``amalgamate`` uses the store once all parts are done.

    Args:
        recipe: From :func:`muka_fast.read_recipe` or built in Python.
        number: Which part, from 1.
        count: Number of parts.
        progress: Receives messages; default stderr.

    Returns:
        The store's folder.

    Raises:
        MukaError: With what is wrong, where, and how to fix it; also if another process has this part.
    """
    progress = progress or Progress()
    plan = resolve_recipe(recipe, progress)
    log_plan(plan, progress)
    folder = plan.scores(Path(plan.recipe.output))
    with one_part(folder, number, count, progress.log):
        done = score_plan_part(plan, folder, (number, count), progress)
    progress.log(f"part {number} of {count}: {done} shard(s) of the score store {folder}")
    return folder


def _task(tree: dict[str, Any], number: int, count: int) -> str | MukaError:
    """Score one part in a worker of Ray; an error of the project is returned, since it would come again."""
    try:
        return str(score_part(Recipe.model_validate(tree), number, count, progress=Progress(silent=True)))
    except MukaError as error:
        return error


def score_on_ray(
    recipe: Recipe, *, parts: int | None = None, address: str | None = None, progress: Progress | None = None
) -> Path:
    """Fill a recipe's score store by tasks of a Ray cluster; workers may come, go and die.

    Every node reads the same files: teachers, texts and store lie on a file system that all nodes have.

    Args:
        recipe: From :func:`muka_fast.read_recipe` or built in Python.
        parts: Number of tasks; default four for each processor, or for each GPU where the recipe computes on one.
        address: Of the cluster; default ``RAY_ADDRESS``, or a cluster of this machine alone.
        progress: Receives messages and progress; default stderr.

    Returns:
        The store's folder.

    Raises:
        MachineError: If Ray is not installed, or a task failed after all its retries.
        MukaError: As :func:`score_part`.
    """
    try:
        import ray
    except ImportError:
        raise MachineError("ray is not installed", where="--engine ray", hint="pip install 'muka-fast[ray]'") from None
    progress = progress or Progress()
    plan = resolve_recipe(recipe, progress)  # refused here rather than on a worker
    tree = plan.recipe.model_dump(mode="json")
    on_gpu = plan.device.type == "cuda"
    given = address or os.environ.get("RAY_ADDRESS")
    ray.init(address=given, ignore_reinit_error=True, include_dashboard=False, log_to_driver=False, logging_level=40)
    try:
        unit = "GPU" if on_gpu else "CPU"
        count = parts or max(1, int(PARTS_PER_CPU * ray.cluster_resources().get(unit, 1)))
        options = {"max_retries": RETRIES, "num_cpus": 1, "num_gpus": int(on_gpu)}
        task = ray.remote(**options)(_task)
        waiting = [task.remote(tree, number, count) for number in range(1, count + 1)]
        folder = Path()
        with progress.task(f"scoring in {count} parts on Ray", count, "parts") as advance:
            while waiting:
                done, waiting = ray.wait(waiting, num_returns=1)
                try:
                    found = ray.get(done[0])
                except ray.exceptions.RayError as error:
                    raise MachineError(
                        f"a task of Ray failed {RETRIES} times: {str(error).splitlines()[0][:200]}",
                        where="--engine ray",
                        hint="run the same command again: what is scored stays",
                    ) from error
                if isinstance(found, MukaError):
                    raise found
                folder = Path(found)
                advance(1)
        return folder
    finally:
        ray.shutdown()
