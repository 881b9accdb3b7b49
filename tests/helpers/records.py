"""A finished run's record with values that are easy to recognise, some of them hostile."""

from typing import Any

from muka_fast.evaluation.run_record import RunRecord

HOSTILE = "<script>alert(\"x\")</script> & 'more'"


def _teacher(name: str, model: str, chosen_share: float) -> dict[str, Any]:
    return {
        "name": name,
        "model": model,
        "revision": None,
        "fingerprint": "f" * 16,
        "tokenizer_fingerprint": "t" * 16,
        "num_labels": 2,
        "max_length": 128,
        "truncated_share": 0.031,
        "mean_passes": 3.5,
        "chosen_share": chosen_share,
        "mean_trust_score": 0.5,
    }


def record_tree() -> dict[str, Any]:
    """Return the content of a ``run.json``: two teachers, three classes, one of them shared."""
    return {
        "schema_version": 2,
        "versions": {"python": "3.12.1", "muka-fast": "0.1.0"},
        "device": "cpu, 7 threads",
        "processes": 1,
        "seed": 31,
        "texts": {"read": 1240, "empty": 2, "duplicate": 4, "used": 1234},
        "labels": ["pay", "save", HOSTILE],
        "teachers": [
            _teacher("bank", "org/bank", 0.75),
            _teacher(HOSTILE, "org/<b>", 0.25),
        ],
        "encoder_fingerprint": "e" * 16,
        "mean_sample_weight": 1.0,
        "audit": {"audited": 40, "changed": 3, "texts": 1234, "passes": 4319},
        "training": {
            "fidelity": {"agreement": 0.4543, "texts": 77, "held_out": True},
            "steps": 210,
            "best_loss": 0.4321,
            "history": [
                {"step": 100, "loss": 1.5},
                {"step": 100, "eval_loss": 0.75},
                {"step": 210, "loss": 0.5},
                {"step": 210, "eval_loss": 0.4321},
            ],
        },
        "selection": {
            "teachers": ["bank", HOSTILE],
            "known_to": [[0], [0, 1], [1]],
            "chosen": [926, 308],
            "chosen_share": [926 / 1234, 308 / 1234],
            "margin": [234, *[0] * 18, 1000],
            "entropy": [
                {"chosen": [926, *[0] * 19], "other": [0] * 19 + [308]},
                {"chosen": [308, *[0] * 19], "other": [0] * 19 + [926]},
            ],
            "passes": [[0, 1000], [16, 234]],
            "score_by_selection": [[901, 55], [25, 253]],
            "reliability": {"recall": 0.876, "lowest": 0.812, "in_doubt": False},
            "least_certain": [
                {
                    "id": "00000000000000ff",
                    "text": HOSTILE,
                    "margin": 0.02,
                    "teachers": [
                        {"weight": 0.49, "label": "save", "probability": 0.613},
                        {"weight": 0.51, "label": HOSTILE, "probability": 0.587},
                    ],
                }
            ],
        },
        "test": {
            "classifier": "student",
            "metrics": {
                "accuracy": 0.912,
                "macro_f1": 0.894,
                "count": 2345,
                "classes": [
                    {"name": "pay", "precision": 0.951, "recall": 0.942, "f1": 0.946, "support": 1100},
                    {"name": "save", "precision": 0.881, "recall": 0.862, "f1": 0.871, "support": 200},
                    {"name": HOSTILE, "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1045},
                ],
            },
            "selection": {
                "teachers": {"bank": 0.501, HOSTILE: 0.402},
                "own_classes": {"bank": 0.973, HOSTILE: 0.964},
                "oracle": 0.955,
                "selection": 0.934,
                "routing_accuracy": 0.981,
            },
            "unknown_labels": {"other": 17},
            "expected_calibration_error": 0.0437,
            "risk_coverage": [[0.5, 0.01], [1.0, 0.088]],
            "group_confusion": {"groups": ["bank", "both"], "counts": [[1101, 44], [33, 1167]]},
            "confused": [
                {"true": "save", "predicted": HOSTILE, "count": 41},
                {"true": HOSTILE, "predicted": "pay", "count": 36},
            ],
            "confidence": {"right": [0] * 19 + [2139], "wrong": [206, *[0] * 19]},
        },
        "calibration": {"temperature": 1.0, "abstain_below": 0.0},
        "seconds": {"scoring": 75.25, "training": 1200.5},
        "files": {"model.safetensors": {"bytes": 1024, "sha256": "a" * 64}},
    }


def with_labels(labelled: int) -> dict[str, Any]:
    """Return the section ``selection`` of a run with this number of labelled texts."""
    labels = {
        "labelled": labelled,
        "added": labelled,
        "left_out": {},
        "by_teacher": [labelled, 0],
        "rule_right": labelled,
        "changed": 5,
        "known_shares": {"bank": 0.5},
    }
    return record_tree()["selection"] | {"labels": labels}


def record(**sections: Any) -> RunRecord:
    """Return the record, some of its sections replaced."""
    return RunRecord.model_validate(record_tree() | sections)
