"""The conventions of scikit-learn that hold for an estimator of texts."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks, get_tags

from muka_fast import AmalgamatedClassifier
from tests.helpers.estimators import CLASSES
from tests.helpers.models import texts

# The other checks of scikit-learn fit an estimator to arrays of numbers.
CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
)


@pytest.mark.parametrize("name", CHECKS)
def test_the_estimator_passes_a_check_of_scikit_learn(name):
    getattr(estimator_checks, name)("AmalgamatedClassifier", AmalgamatedClassifier())


def test_scikit_learn_knows_that_texts_are_no_table():
    tags = get_tags(AmalgamatedClassifier())
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert not tags.target_tags.required
    assert is_classifier(AmalgamatedClassifier())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(estimator_checks.estimator_checks_generator(AmalgamatedClassifier(), legacy=True))


def test_parameters_survive_a_clone_and_the_fit_does_not(fitted):
    copy = clone(fitted)
    assert copy.get_params() | {"teachers": None} == fitted.get_params() | {"teachers": None}
    with pytest.raises(NotFittedError):
        copy.predict(["a"])
    with pytest.raises(NotFittedError):
        copy.predict_proba(["a"])


def test_fit_needs_teachers_and_student():
    with pytest.raises(ValueError, match="set teachers and student"):
        AmalgamatedClassifier(["a", "b"]).fit(["text"])


def test_predictions_are_of_the_sorted_classes(fitted):
    assert fitted.classes_.tolist() == sorted(CLASSES)
    sample = texts(6, 200)
    probabilities, predicted = fitted.predict_proba(sample), fitted.predict(sample)
    assert probabilities.shape == (6, 5)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert predicted.tolist() == fitted.classes_[probabilities.argmax(1)].tolist()
    assert fitted.score(sample, predicted) == 1


def test_labels_of_some_texts_correct_the_selection(fitted):
    assert fitted.result_.record.selection.labels is not None
