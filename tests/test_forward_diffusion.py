"Forward diffusion against closed forms and against the tables of diffusers."
import math

import pytest
import torch

from latentspeech.forward_diffusion import (SCHEDULES, TARGETS, TIME_SAMPLERS, DiffusionError, Schedule, convert,
                                            cosine_alpha_bar, diffusion_error, diffusion_loss, linear_alpha_bar,
                                            masked_mean, sample_times, target, to_noise, to_z0, zero_terminal)

double = dict(dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_tables_equal_diffusers():
    ddpm = pytest.importorskip("diffusers").DDPMScheduler

    def make(n, **options):
        return ddpm(num_train_timesteps=n, **options).alphas_cumprod.double()

    torch.testing.assert_close(linear_alpha_bar(), make(50, beta_start=1e-4, beta_end=0.05), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(cosine_alpha_bar(100), make(100, beta_schedule="squaredcos_cap_v2"), rtol=1e-4,
                               atol=1e-7)
    torch.testing.assert_close(zero_terminal(linear_alpha_bar()),
                               make(50, beta_start=1e-4, beta_end=0.05, rescale_betas_zero_snr=True),
                               rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("n", (0, 10, 50))
def test_schedule_runs_from_data_to_noise(kind, n):
    schedule = Schedule(kind, n)
    alpha, sigma = schedule.alpha_sigma(torch.linspace(0, 1, 1001, **double))
    assert alpha[0] == 1 and sigma[0] == 0
    assert (alpha.diff() < 0).all() and (sigma.diff() > -1e-12).all()
    if kind != "flow":
        torch.testing.assert_close(alpha ** 2 + sigma ** 2, torch.ones_like(alpha))
    if kind in ("zero_terminal_snr", "flow"):
        assert alpha[-1] == 0 and sigma[-1] == 1
    snr = schedule.log_snr(torch.linspace(0, 1, 11, **double))
    assert snr[0] == math.inf and (snr[1:-1].diff() < 0).all()


def test_tables_are_met_exactly_and_in_single_precision():
    t = torch.arange(1, 51) / 50
    for dtype, tolerance in ((torch.float64, 1e-14), (torch.float32, 1e-6)):
        alpha, sigma = Schedule("linear", 50).alpha_sigma(t.to(dtype))
        assert alpha.dtype == dtype
        assert (alpha - linear_alpha_bar().sqrt()).abs().max() < max(tolerance, 2e-7 if dtype == torch.float64 else 0)
        assert (sigma - (1 - linear_alpha_bar()).sqrt()).abs().max() < 2e-6


@pytest.mark.parametrize("kind", SCHEDULES)
def test_moments_of_q(kind):
    schedule, t = Schedule(kind), torch.tensor([0.0, 0.3, 0.7, 1.0])
    z_0 = torch.full((4, 200_000), -1.5)
    z_t = schedule.q_sample(z_0, t, torch.randn(z_0.shape, generator=seeded()))
    alpha, sigma = schedule.alpha_sigma(t)
    assert (z_t.mean(1) + 1.5 * alpha).abs().max() < 0.01
    assert (z_t.std(1) - sigma).abs().max() < 0.01


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("source", TARGETS)
def test_targets_are_linear_maps_of_each_other(kind, source):
    t = torch.tensor([0.05, 0.5, 0.95], **double)
    z_0, noise = torch.randn(2, 3, 16, 7, generator=seeded(), **double)
    schedule = Schedule(kind)
    (alpha, sigma), z_t = schedule.alpha_sigma(t), schedule.q_sample(z_0, t, noise)
    prediction = target(source, z_0, noise, alpha, sigma)
    torch.testing.assert_close(to_z0(source, prediction, z_t, alpha, sigma), z_0, rtol=0, atol=1e-10)
    torch.testing.assert_close(to_noise(source, prediction, z_t, alpha, sigma), noise, rtol=0, atol=1e-10)
    for destination in TARGETS:
        wanted = target(destination, z_0, noise, alpha, sigma)
        torch.testing.assert_close(convert(prediction, source, destination, z_t, alpha, sigma), wanted, rtol=0,
                                   atol=1e-10)
        for wrong in (torch.zeros_like(z_t), 3 * z_t):  # the maps hold for bad predictions too
            back = convert(convert(wrong, source, destination, z_t, alpha, sigma), destination, source, z_t, alpha,
                           sigma)
            torch.testing.assert_close(back, wrong, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ("v", "velocity"))
@pytest.mark.parametrize("level", ((1., 0.), (0., 1.)))
def test_no_division_by_zero_at_the_ends(kind, level):
    z_0, noise = torch.randn(2, 5, generator=seeded(), **double)
    z_t, prediction = level[0] * z_0 + level[1] * noise, target(kind, z_0, noise, *level)
    assert torch.equal(to_z0(kind, prediction, z_t, *level),
                       z_0) or torch.allclose(to_z0(kind, prediction, z_t, *level), z_0)
    assert torch.allclose(to_noise(kind, prediction, z_t, *level), noise)


def test_times():
    assert Schedule("linear", 50).times(50).mul(50).round().tolist() == list(range(50, -1, -1))
    for n, steps in ((50, 8), (50, 7), (1000, 3)):
        on_grid = Schedule("linear", n).times(steps) * n
        assert torch.allclose(on_grid, on_grid.round(), atol=1e-12) and (on_grid.diff() < 0).all()
    shifted = Schedule("flow").times(10, shift=3.0)
    assert shifted[0] == 1 and shifted[-1] == 0 and (shifted[1:-1] > Schedule("flow").times(10)[1:-1]).all()
    with pytest.raises(DiffusionError, match="at least 1"):
        Schedule("flow").times(0)


def test_time_samplers():
    for kind in TIME_SAMPLERS:
        drawn = torch.cat([sample_times(16, kind, seeded(i)) for i in range(2000)])
        assert (drawn > 0).all() and (drawn <= 1).all() and abs(drawn.mean() - 0.5) < 0.01
        u = drawn if kind == "uniform" else torch.special.ndtr(drawn.logit())
        assert abs(u.std() - 12 ** -0.5) < 0.01
        assert torch.equal(sample_times(16, kind, seeded(3)), sample_times(16, kind, seeded(3)))
    discrete = torch.cat([sample_times(16, "uniform", seeded(i), n_steps=50) for i in range(2000)]) * 50
    assert discrete.min() == 1 and discrete.max() == 50
    assert (discrete.round().int().bincount(minlength=51)[1:] - 640).abs().max() < 130


def test_loss_of_the_best_denoiser_in_closed_form():
    schedule, z_0 = Schedule("cosine"), torch.randn(4000, 8, 4, generator=seeded())
    t = torch.linspace(0, 1, 2001, **double)
    loss = diffusion_loss(lambda z, t: schedule.alpha_sigma(t)[1][:, None, None] * z, schedule, "epsilon", z_0,
                          generator=seeded(1))
    assert abs(loss - (schedule.alpha_sigma(t)[0] ** 2).mean()) < 0.01


def test_loss_masks_repeats_and_differentiates():
    z_0, mask = torch.randn(6, 16, 9), (torch.arange(9) < torch.arange(4, 10)[:, None])[:, None].float()
    weight = torch.ones(1, requires_grad=True)

    def loss(rubbish, seed=0):
        return diffusion_loss(lambda z, t: weight * z + rubbish * (1 - mask), Schedule("flow"), "velocity", z_0, mask,
                              seeded(seed), "logit_normal")

    assert torch.equal(loss(0.), loss(1e3))
    assert torch.equal(loss(0.), loss(0.))
    assert not torch.equal(loss(0.), loss(0., 1))
    loss(0.).backward()
    assert weight.grad.abs() > 0
    shorter = diffusion_loss(lambda z, t: z, Schedule("flow"), "velocity", z_0, mask.bool(), seeded(), "logit_normal")
    assert torch.equal(shorter, loss(0.))


def test_every_example_counts_the_same_however_long():
    """The loss of a batch is the mean of the losses of its examples, each said alone."""
    z_0, noise, guess, t = (*torch.randn(3, 4, 16, 20), torch.rand(4))
    lengths, schedule = [20, 3, 11, 1], Schedule("cosine")
    mask = (torch.arange(20) < torch.tensor(lengths)[:, None])[:, None]
    for kind in TARGETS:
        whole = diffusion_error(guess, z_0, noise, t, schedule, kind, mask)
        each = [diffusion_error(guess[i:i + 1, :, :n], z_0[i:i + 1, :, :n], noise[i:i + 1, :, :n], t[i:i + 1], schedule,
                                kind) for i, n in enumerate(lengths)]
        torch.testing.assert_close(whole, torch.stack(each).mean())
    error = (guess - z_0).square()
    assert torch.equal(masked_mean(error, mask), masked_mean(error, mask.float()))
    assert not torch.allclose(masked_mean(error, mask), (error * mask).sum() / (16 * mask.sum()))


def test_unknown_names_say_what_there_is():
    z = torch.zeros(2, 3)
    for call in (lambda: Schedule("exotic"), lambda: target("score", z, z, 1., 0.),
                 lambda: to_z0("score", z, z, 1., 0.),
                 lambda: sample_times(2, "normal")):
        with pytest.raises(DiffusionError, match="there are: "):
            call()
