import pytest
import torch
from scipy import optimize

from convexp.analysis.identify.catalogue_fit import fit_family, with_errors
from convexp.analysis.identify.families import families
from convexp.analysis.identify.samples import take
from convexp.operators import filter2d, kernels

SCENE = torch.rand(1, 73, 79, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def family(target):
    return next(
        one
        for like in (torch.ones(1, 1), torch.tensor([[-1.0, 1.0]]))
        for one in families(like)
        if one.target == target
    )


def samples_of(kernel, *, gain=1.0, constant=0.0, noise=1e-3, seed=1):
    target = gain * filter2d(SCENE[None], kernel)[0, 0] + constant
    target += noise * torch.randn(target.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    reach = kernel.shape[0] // 2
    return take(SCENE, target, target > -9, side=9, offset=(reach, reach), most=10**6)


def fitted(target, kernel, size, **options):
    samples = samples_of(kernel, **options)
    best = torch.zeros(9, 9, dtype=torch.float64)
    reach = kernel.shape[0] // 2
    best[4 - reach : 5 + reach, 4 - reach : 5 + reach] = kernel
    least = max(options.get("noise", 0), 1e-3) ** 2
    found = fit_family(family(target), samples, best, gains=[1.0], sizes=[size], least=least)
    return with_errors(min(found, key=lambda fit: fit.variance), samples), samples


def of(build, **fixed):
    return lambda values: build(7, *values, **fixed, dtype=torch.float64)


@pytest.mark.parametrize(
    ("target", "build", "values"),
    [
        ("gaussian_blur", of(kernels.gaussian), (1.37,)),
        ("motion_blur", of(kernels.motion_blur), (57.3,)),
        ("highpass", of(kernels.gaussian_highpass), (2.1,)),
        ("laplacian_of_gaussian", of(kernels.laplacian_of_gaussian), (0.9,)),
        ("sharpen", lambda values: of(kernels.unsharp, amount=values[1])(values[:1]), (1.2, 0.7)),
        (
            "difference_of_gaussians",
            lambda values: of(kernels.difference_of_gaussians, ratio=values[1])(values[:1]),
            (0.8, 1.9),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parameters_within_their_errors(target, build, values):
    fit, _ = fitted(target, build(values), 7)
    assert fit.natural
    assert fit.variance == pytest.approx(1e-6, rel=0.1)
    for found, error, true in zip(fit.values, fit.errors, values, strict=True):
        assert abs(found - true) < 4 * error
        assert error < 0.05 * max(abs(true), 1)


def test_the_optimum_is_scipy_s():
    kernel = kernels.gaussian(7, 1.37, dtype=torch.float64)
    fit, samples = fitted("gaussian_blur", kernel, 7, noise=0.05)
    windows = torch.cat([part for _, part in samples.windows((-3, 3, -3, 3))])

    def loss(sigma):
        return float(
            (windows @ kernels.gaussian(7, float(sigma), dtype=torch.float64).flatten() - samples.target)
            .square()
            .mean()
        )

    expected = optimize.minimize_scalar(loss, bounds=(1, 2), method="bounded", options={"xatol": 1e-9}).x
    assert fit.values[0] == pytest.approx(expected, abs=1e-5)


def test_the_error_is_what_noise_does_to_the_parameter():
    found = [
        fitted("gaussian_blur", kernels.gaussian(7, 1.37, dtype=torch.float64), 7, noise=0.02, seed=seed)[0]
        for seed in range(24)
    ]
    values = torch.tensor([fit.values[0] for fit in found])
    errors = torch.tensor([fit.errors[0] for fit in found])
    assert 0.6 < float(errors.mean() / values.std()) < 1.6


def test_a_gain_and_a_constant_are_found_where_they_are_needed():
    kernel = kernels.laplacian_of_gaussian(7, 0.9, dtype=torch.float64)
    fit, _ = fitted("laplacian_of_gaussian", kernel, 7, gain=0.2, constant=0.5)
    assert not fit.natural
    assert (fit.gain, fit.constant) == pytest.approx((0.2, 0.5), abs=1e-3)
    assert abs(fit.gain - 0.2) < 4 * fit.gain_error
    torch.testing.assert_close(fit.kernel, 0.2 * kernel, atol=1e-3, rtol=0)
    assert fit.unknowns == 3


def test_sizes_that_a_family_has_not():
    samples = samples_of(kernels.gaussian(7, 1.0, dtype=torch.float64))
    nothing = torch.zeros(9, 9, dtype=torch.float64)
    assert fit_family(family("gaussian_blur"), samples, nothing, gains=[1.0], sizes=[4, 8, 11], least=1e-6) == []
