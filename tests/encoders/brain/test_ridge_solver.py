import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from phosphene.encoders.brain.ridge_solver import leave_out_errors, solve_ridge
from phosphene.encoders.brain.ridge_spectrum import decompose
from phosphene.errors import InputError, UsageError

F64 = torch.float64
ALPHAS = [10.0, 1e-3, 1e3, 0.5]  # not sorted on purpose
SHAPES = [(19, 31, 7), (19, 31, 45), (33, 12, 6), (33, 12, 50), (20, 20, 4)]


def problem(n, p, t, seed=0):
    """Inputs and targets with offsets (an intercept matters) and unequal scales."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * rng.exponential(size=p) + 3 * rng.normal(size=p)
    Y = X @ rng.normal(size=(p, t)) / np.sqrt(p) + rng.normal(size=(n, t)) + 5
    return X, Y * rng.exponential(size=t)


def some_groups(n, kind, seed=1):
    sizes = {"single": [1], "mixed": [1, 3, 2], "large": [n // 3]}[kind]
    labels = np.repeat(np.arange(n), np.resize(sizes, n))[:n]
    return np.random.default_rng(seed).permutation(labels)


def refits(X, Y, groups, alpha):
    """Predict every trial by a fit without its group, the long way."""
    predicted = np.empty_like(Y)
    for group in np.unique(groups):
        out = groups == group
        fit = Ridge(alpha=alpha, solver="svd").fit(X[~out], Y[~out])
        predicted[out] = fit.predict(X[out]).reshape(-1, Y.shape[1])
    return predicted


def refit_errors(X, Y, groups):
    """Return the errors (n_alphas, t) and the predictions (n_alphas, n, t) of refits."""
    predicted = np.stack([refits(X, Y, groups, alpha) for alpha in ALPHAS])
    return ((predicted - Y) ** 2).sum(1) / ((Y - Y.mean(0)) ** 2).sum(0), predicted


def pooled(errors, Y):
    """Return the error of all targets together: each counts by its variance."""
    return errors @ Y.var(0) / Y.var(0).sum()


@pytest.mark.parametrize("form", ["dual", "primal"])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_scikit_learn(shape, form):
    X, Y = problem(*shape)
    new = problem(*shape, seed=9)[0]
    for alpha in ALPHAS:
        ours = solve_ridge(decompose(X, dtype=F64), Y, [alpha], form=form)
        theirs = Ridge(alpha=alpha).fit(X, Y)
        np.testing.assert_allclose(ours.coefficients().T, theirs.coef_, rtol=1e-6, atol=1e-9)
        predicted = ours.predict(torch.from_numpy(new))
        np.testing.assert_allclose(predicted, theirs.predict(new), rtol=1e-6, atol=1e-8)
        assert ours.errors is None
        assert ours.left_out is None


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_himalaya_with_an_alpha_for_each_target(shape):
    from himalaya.ridge import Ridge as HimalayaRidge

    X, Y = problem(*shape)
    each = np.arange(shape[2])
    ours = solve_ridge(
        decompose(X, dtype=F64), Y, ALPHAS, groups=some_groups(len(X), "mixed"), target_groups=each
    )
    theirs = HimalayaRidge(
        alpha=ours.alphas, fit_intercept=True, solver_params={"warn": False}
    ).fit(X, Y)
    np.testing.assert_allclose(ours.coefficients(), theirs.coef_, rtol=1e-6, atol=1e-9)
    predicted = ours.predict(torch.from_numpy(X))
    np.testing.assert_allclose(predicted, theirs.predict(X), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["single", "mixed", "large"])
@pytest.mark.parametrize("shape", SHAPES)
def test_left_out_groups_equal_explicit_refits(shape, kind):
    X, Y = problem(*shape)
    groups, spectrum = some_groups(len(X), kind), decompose(X, dtype=F64)
    expected, predicted = refit_errors(X, Y, groups)
    each = np.arange(Y.shape[1])
    found = leave_out_errors(spectrum, Y, ALPHAS, groups, target_groups=each)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # All targets together: with t > n this goes by their Gram matrix, without residuals.
    found = leave_out_errors(spectrum, Y, ALPHAS, groups)
    np.testing.assert_allclose(found[:, 0], pooled(expected, Y), rtol=1e-6)
    halves = (each >= len(each) // 3).astype(int)
    found = leave_out_errors(spectrum, Y, ALPHAS, groups, target_groups=halves)
    second = halves == 1
    expected_second = pooled(expected[:, second], Y[:, second])
    np.testing.assert_allclose(found[:, 1], expected_second, rtol=1e-6)

    for labels in (None, each):
        solution = solve_ridge(
            spectrum, Y, ALPHAS, groups=groups, target_groups=labels, keep_left_out=True
        )
        best = expected.argmin(0) if labels is not None else 0 * each + pooled(expected, Y).argmin()
        np.testing.assert_array_equal(solution.alphas, np.array(ALPHAS)[best])
        np.testing.assert_allclose(
            solution.left_out, predicted[best, :, each].T, rtol=1e-6, atol=1e-8
        )


@settings(max_examples=25, deadline=None)
@given(
    st.integers(3, 14),
    st.integers(1, 14),
    st.integers(1, 20),
    st.integers(2, 5),
    st.integers(0, 99),
)
def test_any_shape_and_grouping(n, p, t, n_groups, seed):
    X, Y = problem(n, p, t, seed)
    groups = np.resize(np.arange(min(n_groups, n)), n)
    found = leave_out_errors(decompose(X, dtype=F64), Y, ALPHAS, groups)
    np.testing.assert_allclose(found[:, 0], pooled(refit_errors(X, Y, groups)[0], Y), rtol=1e-5)


@pytest.mark.parametrize("t", [5, 60])
@pytest.mark.parametrize("kind", ["single", "mixed"])
def test_repeated_trials_and_dead_columns_keep_everything_exact(kind, t):
    X, Y = problem(26, 40, t)
    X[13:] = X[:13]  # rank 12 of 25
    X[:, 5] = 0.1
    groups = some_groups(26, kind)
    spectrum = decompose(X, dtype=F64)
    assert spectrum.left.shape == (26, 12)
    found = leave_out_errors(spectrum, Y, ALPHAS, groups)
    np.testing.assert_allclose(found[:, 0], pooled(refit_errors(X, Y, groups)[0], Y), rtol=1e-6)
    weights = solve_ridge(spectrum, Y, [1e-3]).coefficients()
    np.testing.assert_allclose(
        weights.T, Ridge(alpha=1e-3, solver="svd").fit(X, Y).coef_, rtol=1e-6, atol=1e-8
    )
    assert weights[5].abs().max() < 1e-12


def test_float32_stays_accurate_where_a_float32_decomposition_would_not():
    rng = np.random.default_rng(0)
    n, p, t = 200, 500, 20
    common = 10 * rng.normal(size=(n, 1)) * rng.normal(size=p)  # one component dwarfs the rest
    X = (common + rng.normal(size=(n, p)) * np.logspace(0, -2, p) + 5).astype(np.float32)
    Y = (X[:, :t] - 5 + rng.normal(size=(n, t))).astype(np.float32)
    alpha = 1e-5 * float(decompose(X).eigenvalues[-1])
    exact = Ridge(alpha=alpha, solver="svd").fit(X.astype(float), Y.astype(float)).coef_.T
    found = solve_ridge(decompose(X), Y, [alpha]).coefficients()

    centred = torch.from_numpy(X - X.mean(0))
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    dual = vectors @ ((vectors.T @ torch.from_numpy(Y - Y.mean(0))) / (values + alpha)[:, None])

    def error(coefficients):
        return np.linalg.norm(coefficients.numpy() - exact) / np.linalg.norm(exact)

    assert found.dtype == torch.float32
    assert error(found) < 1e-4
    assert error(centred.T @ dual) > 1e-3


def test_float32_errors_equal_float64_errors_either_way():
    X, Y = problem(40, 90, 120)
    groups = some_groups(40, "mixed")
    expected = leave_out_errors(decompose(X, dtype=F64), Y, ALPHAS, groups)
    np.testing.assert_allclose(leave_out_errors(decompose(X), Y, ALPHAS, groups), expected, 1e-4)
    each = leave_out_errors(decompose(X), Y, ALPHAS, groups, target_groups=np.arange(120))
    np.testing.assert_allclose(pooled(each, Y), expected[:, 0], rtol=1e-4)


def test_bounded_memory_and_memory_maps_change_nothing(tmp_path):
    X, Y = problem(30, 17, 41)
    np.save(tmp_path / "targets.npy", Y.astype(np.float32))
    mapped = np.load(tmp_path / "targets.npy", mmap_mode="r")
    groups = np.arange(30) // 2
    options = {"groups": groups, "target_groups": np.arange(41) % 3, "keep_left_out": True}
    whole = solve_ridge(decompose(X, dtype=F64), Y.astype(np.float32), ALPHAS, **options)
    small = solve_ridge(decompose(X, dtype=F64, memory=1), mapped, ALPHAS, memory=1, **options)
    torch.testing.assert_close(small.weights, whole.weights, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(small.left_out, whole.left_out, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(small.errors, whole.errors)


def test_inputs_are_left_as_they_were():
    X, Y = (torch.from_numpy(a) for a in problem(12, 9, 30))
    before = X.clone(), Y.clone()
    solve_ridge(decompose(X, dtype=F64), Y, ALPHAS, groups=range(12), keep_left_out=True)
    assert torch.equal(X, before[0])
    assert torch.equal(Y, before[1])


def test_weights_are_kept_in_the_smaller_form():
    X, Y = problem(10, 50, 40)
    dual = solve_ridge(decompose(X), Y, [1.0])
    assert dual.weights.shape == (10, 40)
    assert dual.inputs.shape == (10, 50)
    primal = solve_ridge(decompose(X), Y[:, :3], [1.0])
    assert primal.weights.shape == (50, 3)
    assert primal.inputs is None


def test_order_of_trials_and_of_alphas_does_not_matter():
    X, Y = problem(24, 35, 8)
    groups = some_groups(24, "mixed")
    one = solve_ridge(decompose(X, dtype=F64), Y, ALPHAS, groups=groups, keep_left_out=True)
    order = np.random.default_rng(3).permutation(24)
    other = solve_ridge(
        decompose(X[order], dtype=F64), Y[order], sorted(ALPHAS), groups=groups[order],
        keep_left_out=True,
    )  # fmt: skip
    np.testing.assert_array_equal(one.alphas, other.alphas)
    torch.testing.assert_close(one.coefficients(), other.coefficients())
    torch.testing.assert_close(one.left_out[order], other.left_out)


def test_two_trials():
    X, Y = np.array([[1.0, 2.0, 0.0], [3.0, -1.0, 4.0]]), np.array([[1.0, 5.0], [2.0, 5.0]])
    solution = solve_ridge(
        decompose(X, dtype=F64), Y, [1.0, 2.0], groups=[0, 1], keep_left_out=True
    )
    # Each is predicted by the other alone, that is by the intercept.
    np.testing.assert_allclose(solution.left_out, Y[::-1], atol=1e-12)
    np.testing.assert_allclose(
        solution.predict(torch.from_numpy(X)), Ridge(alpha=2.0).fit(X, Y).predict(X), atol=1e-12
    )


def test_targets_and_inputs_that_do_not_vary():
    X, Y = problem(15, 6, 4)
    Y[:, 1] = 0.1
    solution = solve_ridge(decompose(X), Y.astype(np.float32), ALPHAS, groups=range(15))
    assert np.isfinite(solution.errors).all()
    prediction = solution.predict(torch.from_numpy(X))[:, 1]
    torch.testing.assert_close(prediction, torch.full_like(prediction, 0.1))
    only_constant = solve_ridge(decompose(X), Y[:, [1]], ALPHAS, groups=range(15))
    assert np.isnan(only_constant.errors).all()
    assert only_constant.alphas == max(ALPHAS)
    nothing = solve_ridge(
        decompose(np.full((15, 6), 0.3), dtype=F64), Y, ALPHAS, groups=range(15), keep_left_out=True
    )
    mean_of_others = (Y.sum(0) - Y) / 14
    np.testing.assert_allclose(nothing.left_out, mean_of_others)
    assert (nothing.alphas == max(ALPHAS)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    X, Y = problem(9, 5, 6)
    Y[4, 3] = value
    with pytest.raises(InputError, match="target 3 is not finite"):
        solve_ridge(decompose(X), Y, ALPHAS, groups=range(9))
    X[0, 1] = value
    with pytest.raises(InputError, match="1 of 5 columns"):
        decompose(X)


def test_wrong_arguments_are_refused():
    X, Y = problem(9, 5, 6)
    spectrum = decompose(X)
    with pytest.raises(InputError, match="two rows or more"):
        decompose(X[:1])
    with pytest.raises(InputError, match="for 9 trials"):
        solve_ridge(spectrum, Y[:8], [1.0])
    for alphas in ([], [0.0], [-1.0], [np.nan], [np.inf]):
        with pytest.raises(UsageError, match="above zero"):
            solve_ridge(spectrum, Y, alphas)
    with pytest.raises(UsageError, match="no groups"):
        solve_ridge(spectrum, Y, ALPHAS)
    for groups in (np.zeros(9), np.arange(8)):
        with pytest.raises(UsageError, match="one label per trial and at least two groups"):
            solve_ridge(spectrum, Y, ALPHAS, groups=groups)
    with pytest.raises(UsageError, match="one group number"):
        solve_ridge(spectrum, Y, ALPHAS, groups=range(9), target_groups=np.zeros(5, int))
    with pytest.raises(UsageError, match="form"):
        solve_ridge(spectrum, Y, [1.0], form="tall")


def test_an_alpha_that_leaves_nothing_to_judge_by_is_refused():
    X = np.eye(9)[:, :5] * 1e9 + problem(9, 5, 6)[0]  # each of five trials owns a column
    with pytest.raises(UsageError, match="leave out the smallest alphas"):
        leave_out_errors(decompose(X, dtype=F64), np.ones((9, 2)), [1e-3, 1e25], range(9))
