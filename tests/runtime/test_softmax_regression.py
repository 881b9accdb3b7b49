"""L-BFGS beside scikit-learn's logistic regression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from muka_fast.runtime.softmax_regression import fit_softmax_regression


@pytest.fixture
def problem():
    random = np.random.default_rng(0)
    return random.normal(size=(80, 4)), random.integers(0, 3, 80), random.uniform(0.5, 2, 80)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("constant_input", [False, True])
def test_the_fit_is_scikit_learns(problem, weighted, constant_input):
    features, classes, sample_weight = problem
    inputs, targets = torch.from_numpy(features).float(), torch.eye(3)[torch.from_numpy(classes)]
    bias = torch.zeros(3)
    if constant_input:  # its weights are the intercept
        inputs, bias = torch.cat([inputs, torch.ones(80, 1)], dim=1), None
    weight, bias = fit_softmax_regression(
        inputs,
        targets,
        torch.zeros(inputs.shape[1], 3),
        bias,
        l2=2.0,
        max_iter=100,
        sample_weight=torch.from_numpy(sample_weight).float() if weighted else None,
        constant_input=constant_input,
    )
    found = (inputs @ weight + (0 if bias is None else bias)).softmax(1)
    theirs = LogisticRegression(C=1 / 2.0, tol=1e-8, max_iter=1000)
    theirs.fit(features, classes, sample_weight=sample_weight if weighted else None)
    np.testing.assert_allclose(found.numpy(), theirs.predict_proba(features), atol=1e-3)


def test_the_start_is_not_changed(problem):
    features, classes, _ = problem
    start = torch.zeros(4, 3)
    weight, bias = fit_softmax_regression(
        torch.from_numpy(features).float(), torch.eye(3)[torch.from_numpy(classes)], start, l2=1.0, max_iter=5
    )
    assert bias is None
    assert weight.abs().sum() > 0
    assert start.abs().sum() == 0
    assert not weight.requires_grad
