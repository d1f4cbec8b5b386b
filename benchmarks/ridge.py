"""Ridge regression: one decomposition for all targets against a fit per group of targets.

Prints the time of the products that no solver avoids (the floor), of this package, of
scikit-learn's Ridge fitted once per 768 targets and per alpha (as published decoders do), and of
himalaya, all with float32 data in this process, and how far each is from the float64 solution.

    python benchmarks/ridge.py [--quick] [--threads 1] [--trials N --voxels P --targets T]

The eigendecomposition of the floor is in float64, because a float32 one (its time is printed too)
is less accurate than scikit-learn; the kernel of the floor is in float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from himalaya.backend import set_backend
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from sklearn.linear_model import Ridge, RidgeCV
from threadpoolctl import threadpool_limits

from phosphene.encoders.brain.ridge_solver import solve_ridge
from phosphene.encoders.brain.ridge_spectrum import decompose

GROUP = 768
ALPHAS = [float(alpha) for alpha in np.logspace(1, 5.5, 10)]
Jobs = dict[str, Callable[[], Any]]


def shortest(jobs: Jobs, repeats: int) -> dict[str, float]:
    """Return the shortest time of each job in seconds; the jobs take turns."""
    # Processor time of a single thread feels less of what else the machine does.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(repeats):
        for name, job in jobs.items():
            start = clock()
            job()
            best[name] = min(best[name], clock() - start)
    return best


def make_problem(n: int, p: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels with shared components and an offset, and targets that depend on them."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((n, 50), dtype=np.float32) * np.float32(3)
    X = hidden @ rng.standard_normal((50, p), dtype=np.float32) / np.float32(7)
    X += rng.standard_normal((n, p), dtype=np.float32) + np.float32(1)
    Y = hidden @ rng.standard_normal((50, t), dtype=np.float32) / np.float32(20)
    Y += rng.standard_normal((n, t), dtype=np.float32)
    return X, Y


def floor_jobs(X: np.ndarray, Y: np.ndarray) -> tuple[Jobs, dict[str, float], dict[str, int]]:
    """Return the products nobody avoids, their operations, and the bytes they read and write."""
    A, B = torch.from_numpy(X), torch.from_numpy(Y)
    (n, p), t = X.shape, Y.shape[1]
    kernel, vectors = A @ A.T, torch.linalg.qr(A[:, :n])[0]
    double = kernel.double()
    projected, dual, primal = torch.zeros(n, t), torch.zeros(n, t), torch.zeros(p, t)
    jobs: Jobs = {  # outputs exist beforehand, so that no page is touched for the first time
        "kernel XX'": lambda: torch.mm(A, A.T, out=kernel),
        "eigendecomposition": lambda: torch.linalg.eigh(double),
        "Q'Y": lambda: torch.mm(vectors.T, B, out=projected),
        "dual weights": lambda: torch.mm(vectors, projected, out=dual),
        "coefficients": lambda: torch.mm(A.T, dual, out=primal),
        "(float32 eigendec.)": lambda: torch.linalg.eigh(kernel),
    }
    operations = [2 * n * n * p, 9 * n**3, 2 * n * n * t, 2 * n * n * t, 2 * n * p * t, 9 * n**3]
    numbers = [n * p + n * n, 4 * n * n, 2 * n * t + n * n, 2 * n * t + n * n,
               (n + p) * t + n * p, 2 * n * n]  # fmt: skip
    return (
        jobs,
        dict(zip(jobs, map(float, operations), strict=True)),
        {name: 4 * count for name, count in zip(jobs, numbers, strict=True)},
    )


def our_jobs(X: np.ndarray, Y: np.ndarray) -> Jobs:
    """Return complete fits: ten alphas judged by left-out pictures, weights for every target."""
    n, t = Y.shape

    def fit(form: Any, **options: Any) -> None:
        solve_ridge(decompose(X), Y, ALPHAS, groups=np.arange(n), form=form, **options)

    return {
        "dual": lambda: fit("dual"),
        "primal": lambda: fit("primal"),
        "left out": lambda: fit("dual", keep_left_out=True),
        "own alphas": lambda: fit("dual", target_groups=np.arange(t)),
    }


def one_group_jobs(X: np.ndarray, Y: np.ndarray) -> Jobs:
    """Return scikit-learn's fit of one group of targets with one alpha, in both precisions."""
    group = np.ascontiguousarray(Y[:, :GROUP])
    X64, group64 = X.astype(np.float64), group.astype(np.float64)
    return {
        "Ridge": lambda: Ridge(alpha=ALPHAS[4]).fit(X, group),
        "Ridge64": lambda: Ridge(alpha=ALPHAS[4]).fit(X64, group64),
    }


def peer_jobs(X: np.ndarray, Y: np.ndarray) -> Jobs:
    """Return the fits that choose alpha: scikit-learn's of one group, himalaya's of all."""
    group = np.ascontiguousarray(Y[:, :GROUP])
    centred, targets = X - X.mean(0), Y - Y.mean(0)  # himalaya's kernel way has no intercept
    quiet = {"warn": False}
    return {
        "RidgeCV": lambda: RidgeCV(ALPHAS, alpha_per_target=False).fit(X, group),
        "dual": lambda: KernelRidgeCV(ALPHAS, kernel="linear", cv=5).fit(centred, targets),
        "primal": lambda: HimalayaRidgeCV(
            ALPHAS, fit_intercept=True, cv=5, solver_params=quiet
        ).fit(X, Y),
    }


def accuracy(X: np.ndarray, Y: np.ndarray) -> tuple[float, float]:
    """Return the error of our and of scikit-learn's float32 coefficients, against float64."""
    Y = np.ascontiguousarray(Y[:, :GROUP])
    exact = Ridge(alpha=ALPHAS[0]).fit(X.astype(np.float64), Y.astype(np.float64)).coef_.T
    ours = solve_ridge(decompose(X), Y, ALPHAS[:1]).coefficients().numpy()
    theirs = Ridge(alpha=ALPHAS[0]).fit(X, Y).coef_.T
    size = np.linalg.norm(exact)
    return float(np.linalg.norm(ours - exact) / size), float(np.linalg.norm(theirs - exact) / size)


def report(ours: dict[str, float], peers: dict[str, float], t: int) -> None:
    """Print the table of times and ratios; ``ours`` holds the floor's parts too."""
    groups = t / min(GROUP, t)
    sklearn = peers["Ridge"] * groups * len(ALPHAS)
    products = ["kernel XX'", "eigendecomposition", "Q'Y", "dual weights", "coefficients"]
    floors = {form: sum(ours[name] for name in products[:k])
              for form, k in (("dual", 4), ("primal", 5))}  # fmt: skip
    print(f"\n{'':50s}{'seconds':>9s}{'floor':>8s}{'sklearn':>9s}{'himalaya':>9s}")
    for form, words in (("dual", "dual weights"), ("primal", "coefficients")):
        print(f"{'floor, ' + words:50s}{floors[form]:9.2f}")
        ratios = (ours[form] / floors[form], sklearn / ours[form], peers[form] / ours[form])
        print("{:50s}{:9.2f}{:7.2f}x{:8.1f}x{:8.1f}x".format(
            f"phosphene, {words}, alpha by left-out pictures", ours[form], *ratios))  # fmt: skip
    for name, words in (("left out", "left-out predictions too"),
                        ("own alphas", "an alpha for every target")):  # fmt: skip
        print(f"{'phosphene, dual weights, ' + words:50s}{ours[name]:9.2f}")
    print(f"{f'scikit-learn Ridge, per {GROUP} targets and alpha':50s}{sklearn:9.1f}"
          f"   = {peers['Ridge']:.2f} s a fit, extrapolated; chooses no alpha")  # fmt: skip
    double = peers["Ridge64"] * groups * len(ALPHAS)
    print(f"{'the same in float64, to reach the same accuracy':50s}{double:9.1f}"
          f"   = {peers['Ridge64']:.2f} s a fit; {double / ours['dual']:.1f}x dual, "
          f"{double / ours['primal']:.1f}x coefficients")  # fmt: skip
    print(f"{f'scikit-learn RidgeCV, per {GROUP} targets':50s}{peers['RidgeCV'] * groups:9.1f}"
          f"   = {peers['RidgeCV']:.2f} s a fit, extrapolated")  # fmt: skip
    print(f"{'himalaya KernelRidgeCV (dual), 5 folds':50s}{peers['dual']:9.1f}")
    print(f"{'himalaya RidgeCV (coefficients), 5 folds':50s}{peers['primal']:9.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of each size")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--voxels", type=int, default=8000)
    parser.add_argument("--targets", type=int, default=20000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)
    set_backend("torch")
    n, p, t = (size // (5 if options.quick else 1)
               for size in (options.trials, options.voxels, options.targets))  # fmt: skip
    X, Y = make_problem(n, p, t)
    print(f"{n} trials x {p} voxels -> {t} targets, {len(ALPHAS)} alphas, float32, "
          f"{options.threads} threads")  # fmt: skip
    jobs, operations, sizes = floor_jobs(X, Y)
    ours = our_jobs(X, Y)
    extras = {name: ours.pop(name) for name in ("left out", "own alphas")}
    times = shortest({**jobs, **ours}, options.repeats)
    for name in jobs:
        rate = operations[name] / times[name] / 1e9
        print(f"  {name:20s}{operations[name] / 1e9:7.1f} GFLOP {sizes[name] / 1e6:6.0f} MB"
              f"{times[name]:8.2f} s {rate:5.0f} GFLOP/s", flush=True)  # fmt: skip
    times |= shortest(extras, 1)
    peers = shortest(peer_jobs(X, Y), 2 if options.quick else 1)
    peers |= shortest(one_group_jobs(X, Y), 4)
    report(times, peers, t)
    mine, theirs = accuracy(X, Y)
    print(f"\nerror of coefficients against float64: phosphene {mine:.1e}, "
          f"scikit-learn {theirs:.1e}")  # fmt: skip


if __name__ == "__main__":
    main()
