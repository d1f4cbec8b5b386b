"""Ridge regression: one decomposition for all targets against a fit per group of targets.

Prints the time of the products that no solver avoids (the floor), of this package, of
scikit-learn's Ridge fitted once per 768 targets and per alpha (as published decoders do), and of
himalaya, all in float32 in this process, and how far each is from the float64 solution.

    python benchmarks/ridge.py [--quick] [--trials N --voxels P --targets T]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from phosphene.encoders.brain.ridge_solver import solve_ridge
from phosphene.encoders.brain.ridge_spectrum import decompose

GROUP = 768
ALPHAS = [float(alpha) for alpha in np.logspace(1, 5.5, 10)]


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Return the shortest time of a few repeats, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def make_problem(n: int, p: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels with shared components and an offset, and targets that depend on them."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((n, 50), dtype=np.float32) * np.float32(3)
    X = hidden @ rng.standard_normal((50, p), dtype=np.float32) / np.float32(7)
    X += rng.standard_normal((n, p), dtype=np.float32) + np.float32(1)
    Y = hidden @ rng.standard_normal((50, t), dtype=np.float32) / np.float32(20)
    Y += rng.standard_normal((n, t), dtype=np.float32)
    return X, Y


def floor_parts(X: np.ndarray, Y: np.ndarray, repeats: int) -> dict[str, tuple[float, float, int]]:
    """Return operations, seconds and bytes of each product nobody avoids, all in float32."""
    A, B = torch.from_numpy(X), torch.from_numpy(Y)
    (n, p), t = X.shape, Y.shape[1]
    kernel = torch.empty(n, n)
    vectors = torch.linalg.eigh(A @ A.T)[1]
    projected, dual, primal = vectors.T @ B, torch.empty(n, t), torch.empty(p, t)
    jobs = {  # outputs exist before the clock starts: no page is touched for the first time
        "kernel XX'": (2 * n * n * p, n * p + n * n, lambda: torch.mm(A, A.T, out=kernel)),
        "eigendecomposition": (9 * n**3, 2 * n * n, lambda: torch.linalg.eigh(kernel)),
        "Q'Y": (2 * n * n * t, 2 * n * t, lambda: torch.mm(vectors.T, B, out=projected)),
        "dual weights": (2 * n * n * t, 2 * n * t, lambda: torch.mm(vectors, projected, out=dual)),
        "coefficients": (2 * n * p * t, (n + p) * t, lambda: torch.mm(A.T, dual, out=primal)),
    }
    return {k: (float(ops), timed(job, repeats), 4 * size) for k, (ops, size, job) in jobs.items()}


def scikit_learn(X: np.ndarray, Y: np.ndarray, fits: int) -> tuple[float, float]:
    """Return seconds for all targets and alphas, extrapolated, by Ridge and by RidgeCV."""
    from sklearn.linear_model import Ridge, RidgeCV

    groups = Y.shape[1] / min(GROUP, Y.shape[1])
    parts = [np.ascontiguousarray(Y[:, k * GROUP : (k + 1) * GROUP]) for k in range(fits)]
    parts = [part for part in parts if part.shape[1] == min(GROUP, Y.shape[1])]
    each = [timed(lambda part=part: Ridge(alpha=ALPHAS[4]).fit(X, part), 1) for part in parts]
    chosen = timed(lambda: RidgeCV(ALPHAS, alpha_per_target=False).fit(X, parts[0]), 1)
    return min(each) * groups * len(ALPHAS), chosen * groups


def himalaya(X: np.ndarray, Y: np.ndarray) -> tuple[float, float]:
    """Return seconds of himalaya's dual and primal ways, alphas by five folds."""
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.ridge import RidgeCV

    set_backend("torch")
    centred, targets = X - X.mean(0), Y - Y.mean(0)  # the kernel estimator has no intercept
    dual = timed(lambda: KernelRidgeCV(ALPHAS, kernel="linear", cv=5).fit(centred, targets), 1)
    quiet = {"warn": False}
    primal = timed(
        lambda: RidgeCV(ALPHAS, fit_intercept=True, cv=5, solver_params=quiet).fit(X, Y), 1
    )
    set_backend("numpy")
    return dual, primal


def accuracy(X: np.ndarray, Y: np.ndarray) -> tuple[float, float]:
    """Return the error of our and of scikit-learn's float32 coefficients, against float64."""
    from sklearn.linear_model import Ridge

    Y = np.ascontiguousarray(Y[:, :GROUP])
    exact = Ridge(alpha=ALPHAS[0]).fit(X.astype(np.float64), Y.astype(np.float64)).coef_.T
    ours = solve_ridge(decompose(X), Y, ALPHAS[:1]).coefficients().numpy()
    theirs = Ridge(alpha=ALPHAS[0]).fit(X, Y).coef_.T
    size = np.linalg.norm(exact)
    return float(np.linalg.norm(ours - exact) / size), float(np.linalg.norm(theirs - exact) / size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--voxels", type=int, default=8000)
    parser.add_argument("--targets", type=int, default=20000)
    parser.add_argument("--fits", type=int, default=4, help="scikit-learn fits that are timed")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    n, p, t = options.trials, options.voxels, options.targets
    if options.quick:
        n, p, t = n // 5, p // 5, t // 5
    X, Y = make_problem(n, p, t)
    pictures = np.arange(n)
    each = np.arange(t)

    def ours(form: str, **settings: Any) -> Callable[[], Any]:
        return lambda: solve_ridge(decompose(X), Y, ALPHAS, groups=pictures, form=form, **settings)

    print(f"{n} trials x {p} voxels -> {t} targets, {len(ALPHAS)} alphas, float32, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    parts = floor_parts(X, Y, options.repeats)
    for name, (operations, seconds, size) in parts.items():
        print(f"  {name:20s} {operations / 1e9:8.0f} GFLOP {size / 1e6:8.0f} MB {seconds:8.2f} s"
              f" {operations / seconds / 1e9:6.0f} GFLOP/s")  # fmt: skip
    full = sum(seconds for _, seconds, _ in parts.values())
    floors = {"dual": full - parts["coefficients"][1], "primal": full}
    times = {form: timed(ours(form), options.repeats) for form in floors}
    left_out = timed(ours("dual", keep_left_out=True), 1)
    own = timed(ours("dual", target_groups=each), 1)
    ridge, ridge_cv = scikit_learn(X, Y, options.fits)
    himalaya_times = dict(zip(floors, himalaya(X, Y), strict=True))

    print(f"\n{'':46s}{'seconds':>9s}{'of floor':>10s}{'sklearn':>9s}{'himalaya':>9s}")
    for form, words in (("dual", "dual weights"), ("primal", "coefficients")):
        print(f"floor, {words:39s}{floors[form]:9.2f}")
        print(f"phosphene, {words + ', alpha by left-out pictures':35s}{times[form]:9.2f}"
              f"{times[form] / floors[form]:9.2f}x{ridge / times[form]:8.1f}x"
              f"{himalaya_times[form] / times[form]:8.1f}x")  # fmt: skip
    print(f"phosphene, dual, left-out predictions too     {left_out:9.2f}")
    print(f"phosphene, dual, an alpha for every target    {own:9.2f}")
    print(f"scikit-learn Ridge, per {GROUP} targets and alpha {ridge:10.1f}  extrapolated from "
          f"{options.fits} fits; no choice of alpha")  # fmt: skip
    print(f"scikit-learn RidgeCV, per {GROUP} targets {ridge_cv:18.1f}  extrapolated from 1 fit")
    print(f"himalaya KernelRidgeCV, 5 folds {himalaya_times['dual']:23.1f}  no intercept")
    print(f"himalaya RidgeCV, 5 folds {himalaya_times['primal']:29.1f}")
    mine, theirs = accuracy(X, Y)
    print(f"\nrelative error of coefficients against float64: phosphene {mine:.1e}, "
          f"scikit-learn {theirs:.1e}")  # fmt: skip


if __name__ == "__main__":
    main()
