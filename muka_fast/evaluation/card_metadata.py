"""The metadata of the model card, as the hub reads them: base models, data sets, evaluation results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from muka_fast.config.portable import HUB_ID, last_part
from muka_fast.config.recipe import Recipe
from muka_fast.config.specs import DataSpec
from muka_fast.evaluation.evaluation_record import Evaluation
from muka_fast.evaluation.run_record import RunRecord
from muka_fast.runtime.printable import printable

TASK = "text-classification"


def card_metadata(record: RunRecord, recipe: Recipe) -> str:
    """Return the YAML header of the model card.

    Args:
        record: The run's record.
        recipe: The resolved recipe.
    """
    from huggingface_hub import ModelCardData

    card, base_models = recipe.card, _base_models(recipe)
    optional: dict[str, Any] = {
        "license": card.license,
        "language": card.language,
        "base_model": base_models,
        "base_model_relation": _relation(recipe, base_models),
        "datasets": list(dict.fromkeys([*_hub_datasets(recipe.data, recipe.selection.labelled_texts), *card.datasets])),
        "widget": [{"text": printable(text, keep="\n")} for text in card.widget],
    }
    if record.test is not None and recipe.test is not None:
        name = last_part(recipe.output)
        optional |= {
            "metrics": ["accuracy", "f1"],
            "model_name": printable(name),
            "eval_results": _results(record.test, recipe.test),
        }
    return ModelCardData(
        library_name="transformers" if record.training else "muka-fast",
        pipeline_tag=TASK,
        tags=["muka-fast"],
        **{key: value for key, value in optional.items() if value},
    ).to_yaml()


def _base_models(recipe: Recipe) -> list[str]:
    """Return the hub ids of the student's base model and of the teachers."""
    student = recipe.student.model if recipe.selection.trains_student else None
    models = [student, *(teacher.model for teacher in recipe.teachers)]
    return list(dict.fromkeys(model for model in models if model is not None and HUB_ID.fullmatch(model)))


def _relation(recipe: Recipe, base_models: list[str]) -> str | None:
    """Return how the student comes from its base models; the hub has no relation for distillation."""
    if not base_models:
        return None
    return "finetune" if base_models == [recipe.student.model] else "merge"


def _hub_datasets(*sections: DataSpec | None) -> Iterable[str]:
    for section in sections:
        for source in section.texts if section is not None else ():
            if source.startswith("hub:"):
                yield source.removeprefix("hub:")


def _results(test: Evaluation, data: DataSpec) -> list[Any]:
    from huggingface_hub import EvalResult

    datasets = list(_hub_datasets(data))
    on_hub = len(datasets) == len(data.texts) == 1
    place: dict[str, Any] = {
        "dataset_type": datasets[0] if on_hub else "unknown",
        "dataset_name": printable(", ".join(last_part(source.removeprefix("hub:")) for source in data.texts)),
        "dataset_config": data.config if on_hub else None,
        "dataset_split": data.split if on_hub else None,
    }
    values = (("accuracy", "Accuracy", test.metrics.accuracy), ("f1", "Macro F1", test.metrics.macro_f1))
    return [
        EvalResult(
            task_type=TASK,
            task_name="Text Classification",
            metric_type=kind,
            metric_name=name,
            metric_value=round(value, 4),
            **place,
        )
        for kind, name, value in values
    ]
