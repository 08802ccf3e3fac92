"Samplers against diffusers, step by step in double precision, and against data whose perfect denoiser is known."
import contextlib
import math

import pytest
import torch

from latentspeech.forward_diffusion import SCHEDULES, TARGETS, DiffusionError, Schedule, convert
from latentspeech.reverse_diffusion import (SAMPLERS, ancestral_step, ddim_step, draw_noise, dpm_solver_step,
                                            euler_step, guide, heun_step, posterior, sample, stream_latents)

double = dict(dtype=torch.float64)
TOLERANCE = dict(rtol=0, atol=1e-8)
MEAN, SPREAD = torch.tensor([1.5, -0.7, 0.2], **double)[:, None], torch.tensor([0.5, 1.2, 0.1], **double)[:, None]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def z0_of(schedule, z, t, bend=0.0):
    "The exact E[z_0 | z_t] for Gaussian data, bent so that samplers of higher order have something to be wrong about."
    alpha, sigma = (x[:, None, None] for x in schedule.alpha_sigma(t))
    return MEAN + alpha * SPREAD ** 2 / (alpha ** 2 * SPREAD ** 2
                                         + sigma ** 2) * (z - alpha * MEAN) + bend * torch.sin(3 * z + 5 * sigma)


def denoiser(schedule, kind, bend=0.0):
    def denoise(z, t, conditional=True):
        z_0 = z0_of(schedule, z, t, bend)
        return convert(z_0, "z0", kind, z, *schedule.alpha_sigma(t))
    return denoise


def walk(denoise, schedule, kind, n, sampler, z_T, **options):
    path = [z_T]
    sample(denoise, z_T, schedule, kind, n, sampler, callback=lambda **k: path.append(k["z"]), **options)
    return torch.stack(path)


@contextlib.contextmanager
def in_double():
    "diffusers casts samples to float32 inside `step`; here that means float64."
    single, torch.float32 = torch.float32, torch.float64
    try:
        yield
    finally:
        torch.float32 = single


@pytest.fixture
def diffusers():
    return pytest.importorskip("diffusers")


def linear_50(scheduler):
    scheduler.alphas_cumprod = (1 - torch.linspace(1e-4, 0.05, 50, **double)).cumprod(0)
    scheduler.alphas = 1 - torch.linspace(1e-4, 0.05, 50, **double)
    scheduler.final_alpha_cumprod = scheduler.one = torch.tensor(1.0, **double)
    return scheduler


OPTIONS = dict(num_train_timesteps=50, beta_start=1e-4, beta_end=0.05)
Z_T = torch.randn(4, 3, 5, generator=seeded(), **double)


@pytest.mark.parametrize("kind,theirs", (("epsilon", "epsilon"), ("z0", "sample"), ("v", "v_prediction")))
@pytest.mark.parametrize("n", (50, 10))
def test_ancestral_equals_ddpm(diffusers, monkeypatch, kind, theirs, n):
    from diffusers.schedulers import scheduling_ddpm
    schedule = Schedule("linear", 50)
    scheduler = linear_50(diffusers.DDPMScheduler(**OPTIONS, prediction_type=theirs, clip_sample=False,
                                                  timestep_spacing="trailing"))
    scheduler.set_timesteps(n)
    noises, i = torch.randn(n, *Z_T.shape, generator=seeded(1), **double), 0
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *a, **k: noises[i])
    monkeypatch.setattr("latentspeech.reverse_diffusion._fresh", lambda z, i, *_: noises[i])
    denoise = denoiser(schedule, kind, 0.1)
    path, z = walk(denoise, schedule, kind, n, "ancestral", Z_T), Z_T
    for i, k in enumerate(scheduler.timesteps):
        z = scheduler.step(denoise(z, torch.full((4,), (int(k) + 1) / 50, **double)), k, z).prev_sample
        torch.testing.assert_close(path[i + 1], z, **TOLERANCE)


@pytest.mark.parametrize("kind,theirs", (("epsilon", "epsilon"), ("z0", "sample"), ("v", "v_prediction")))
@pytest.mark.parametrize("n,eta", ((50, 0.0), (10, 0.0), (10, 0.5), (25, 1.0)))
def test_ddim_equals_diffusers(diffusers, monkeypatch, kind, theirs, n, eta):
    schedule = Schedule("linear", 50)
    scheduler = linear_50(diffusers.DDIMScheduler(**OPTIONS, prediction_type=theirs, clip_sample=False,
                                                  timestep_spacing="trailing"))
    scheduler.set_timesteps(n)
    noises = torch.randn(n, *Z_T.shape, generator=seeded(1), **double)
    monkeypatch.setattr("latentspeech.reverse_diffusion._fresh", lambda z, i, *_: noises[i])
    denoise = denoiser(schedule, kind, 0.1)
    path, z = walk(denoise, schedule, kind, n, "ddim", Z_T, eta=eta), Z_T
    for i, k in enumerate(scheduler.timesteps):
        model = denoise(z, torch.full((4,), (int(k) + 1) / 50, **double))
        z = scheduler.step(model, k, z, eta=eta, variance_noise=noises[i] if eta else None).prev_sample
        torch.testing.assert_close(path[i + 1], z, **TOLERANCE)


@pytest.mark.parametrize("n", (50, 10, 5))
@pytest.mark.parametrize("kind,theirs", (("epsilon", "epsilon"), ("z0", "sample"), ("v", "v_prediction")))
def test_dpm_solver_equals_diffusers(diffusers, n, kind, theirs):
    schedule, denoise = Schedule("linear", 50), denoiser(Schedule("linear", 50), kind, 0.1)
    scheduler = diffusers.DPMSolverMultistepScheduler(**OPTIONS, prediction_type=theirs,
                                                      timestep_spacing="trailing", solver_order=2,
                                                      algorithm_type="dpmsolver++", solver_type="midpoint")
    scheduler.set_timesteps(n)
    alpha, sigma = schedule.alpha_sigma(schedule.times(n))
    scheduler.sigmas = sigma / alpha
    path, z = walk(denoise, schedule, kind, n, "dpm_solver_pp_2m", Z_T), Z_T
    for i, k in enumerate(scheduler.timesteps):
        model = denoise(z, torch.full((4,), (int(k) + 1) / 50, **double))
        with in_double():
            z = scheduler.step(model, k, z).prev_sample
        torch.testing.assert_close(path[i + 1], z, **TOLERANCE)


@pytest.mark.parametrize("n", (4, 8, 30))
@pytest.mark.parametrize("shift", (1.0, 3.0))
def test_dpm_solver_on_the_flow_equals_diffusers(diffusers, n, shift):
    schedule, denoise = Schedule("flow"), denoiser(Schedule("flow"), "velocity", 0.1)
    times = schedule.times(n, shift)
    times[0] = 0.999  # at pure noise their log-SNR is not finite; ours takes the limit
    schedule.times = lambda *_: times
    scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True,
                                                      solver_order=2,
                                                      algorithm_type="dpmsolver++", solver_type="midpoint")
    scheduler.set_timesteps(n)
    scheduler.sigmas, z = times, Z_T
    path = walk(denoise, schedule, "velocity", n, "dpm_solver_pp_2m", Z_T, shift=shift)
    for i, k in enumerate(scheduler.timesteps):
        model = denoise(z, torch.full((4,), times[i].item(), **double))
        with in_double():
            z = scheduler.step(model, k, z).prev_sample
        torch.testing.assert_close(path[i + 1], z, **TOLERANCE)


@pytest.mark.parametrize("name,sampler", (("FlowMatchEulerDiscreteScheduler", "euler"),
                                          ("FlowMatchEulerDiscreteScheduler", "ddim"),
                                          ("FlowMatchHeunDiscreteScheduler", "heun")))
@pytest.mark.parametrize("n,shift", ((8, 1.0), (20, 3.0)))
def test_flow_samplers_equal_diffusers(diffusers, name, sampler, n, shift):
    schedule, denoise = Schedule("flow"), denoiser(Schedule("flow"), "velocity", 0.1)
    scheduler, times, z, i = getattr(diffusers, name)(), schedule.times(n, shift), Z_T, 0
    scheduler.set_timesteps(n)
    if sampler == "heun":
        scheduler.sigmas = torch.cat([times[:1], times[1:-1].repeat_interleave(2), times[-1:]])
    else:
        scheduler.sigmas = times
    path = walk(denoise, schedule, "velocity", n, sampler, Z_T, shift=shift)
    for call in range(2 * n - 1 if sampler == "heun" else n):
        now = scheduler.sigmas[call] if sampler != "heun" else times[(call + 1) // 2]
        model = denoise(z, torch.full((4,), now.item(), **double))
        scheduler._step_index = scheduler._step_index or 0
        with in_double():
            z = scheduler.step(model, scheduler.timesteps[min(call, len(scheduler.timesteps) - 1)], z).prev_sample
        if sampler != "heun" or call % 2 or call == 2 * n - 2:
            i += 1
            torch.testing.assert_close(path[i], z, **TOLERANCE)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_gaussian_is_recovered_through_its_exact_score(kind, sampler):
    schedule = Schedule(kind)
    z_T = schedule.q_sample(MEAN + SPREAD * torch.randn(8_000, 3, 1, generator=seeded(), **double),
                            torch.ones(8_000, **double),
                            torch.randn(8_000, 3, 1, generator=seeded(1), **double))
    z = sample(denoiser(schedule, "z0"), z_T, schedule, "z0", 100, sampler, generator=seeded(2))
    assert ((z.mean(0) - MEAN) / SPREAD).abs().max() < 0.05
    # few steps shrink a narrow Gaussian a little
    assert (z.std(0) / SPREAD - 1).abs().max() < (0.15 if sampler == "ancestral" else 0.1)


@pytest.mark.parametrize("sampler,order", (("euler", 1), ("ddim", 1), ("heun", 2), ("dpm_solver_pp_2m", 2)))
def test_order_of_convergence(sampler, order):
    schedule, exact = Schedule("flow"), MEAN + SPREAD * Z_T

    def error(n):
        z = sample(denoiser(schedule, "z0"), Z_T, schedule, "z0", n, sampler)
        return (z - exact)[:, :2].abs().mean().log2()

    assert order - 0.35 < error(64) - error(128) < order + 0.6


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_target_gives_the_same_samples(kind, sampler):
    schedule = Schedule("linear", 50)

    def run(kind):
        return sample(denoiser(schedule, kind, 0.1), Z_T, schedule, kind, 10, sampler, generator=seeded())

    torch.testing.assert_close(run(kind), run("velocity"), **TOLERANCE)


def test_ancestral_moments():
    z_0, schedule = 2.0, Schedule("linear", 50)
    levels = list(zip(*(x.tolist() for x in schedule.alpha_sigma(schedule.times(50)))))
    z = levels[0][0] * z_0 + levels[0][1] * torch.randn(100_000, generator=seeded(), **double)
    for here, there in zip(levels, levels[1:]):
        z = ancestral_step(z, z_0, here, there, torch.randn(100_000, generator=seeded(1), **double))
        assert abs(z.mean() - there[0] * z_0) < 0.02
    assert torch.allclose(z, torch.full_like(z, z_0))
    for here, there in zip(levels, levels[1:]):
        of_z, of_z_0, deviation = posterior(here, there)
        assert of_z * here[0] + of_z_0 == pytest.approx(there[0], abs=1e-12)
        assert (of_z * here[1]) ** 2 + deviation ** 2 == pytest.approx(there[1] ** 2, abs=1e-12)


def test_relations_between_steps():
    z, z_0, noise = torch.randn(3, 50, generator=seeded(), **double)
    for here, there in (((0.5, 0.75 ** 0.5), (0.8, 0.6)), ((0.1, 0.9), (0.4, 0.6)), ((0.0, 1.0), (0.3, 0.7)),
                        ((0.6, 0.4), (1.0, 0.0))):
        torch.testing.assert_close(ddim_step(z, z_0, here, there, 1.0, noise),
                                   ancestral_step(z, z_0, here, there, noise), **TOLERANCE)
        torch.testing.assert_close(euler_step(z, z_0, here, there), ddim_step(z, z_0, here, there), **TOLERANCE)
        torch.testing.assert_close(dpm_solver_step(z, z_0, here, there), ddim_step(z, z_0, here, there), **TOLERANCE)
        torch.testing.assert_close(heun_step(z, z_0, here, there, lambda _: z_0), ddim_step(z, z_0, here, there),
                                   **TOLERANCE)


def test_guidance_is_the_same_at_every_level():
    schedule = Schedule("linear", 50)

    def run(kind, **options):
        def denoise(z, t, conditional=True):
            z_0 = z0_of(schedule, z, t) + (0.3 if conditional else -0.2)
            return convert(z_0, "z0", kind, z, *schedule.alpha_sigma(t))
        return sample(denoise, Z_T, schedule, kind, 10, guidance=2.5, **options)

    for kind in TARGETS:
        torch.testing.assert_close(run(kind), run("velocity"), **TOLERANCE)
    assert guide(torch.tensor(2.), torch.tensor(1.), 0.) == 1 and guide(torch.tensor(2.), torch.tensor(1.), 1.) == 2


@pytest.mark.parametrize("kind", [k for k in TARGETS if k != "epsilon"])   # pure noise tells that one nothing
def test_a_guided_guess_keeps_its_way_and_gives_back_its_length(kind):
    "Whatever the network predicts, it is the guess of the data that is shortened; padding stays silent."
    schedule, (text, none) = Schedule("flow"), torch.randn(2, 1, 16, 40, **double)
    mask = (torch.arange(40) < 30)[None, None]

    def run(guidance, rescale):
        def denoise(z, t, conditional=True):
            return convert((text if conditional else none) * mask, "z0", kind, z, *schedule.alpha_sigma(t))
        return sample(denoise, 0.1 * torch.ones(1, 16, 40, **double), schedule, kind, 1, "ddim", guidance, mask=mask,
                      guidance_rescale=rescale)

    guided, half, back, alone = run(3.0, 0.0), run(3.0, 0.5), run(3.0, 1.0), run(1.0, 0.7)
    torch.testing.assert_close(alone, text * mask)
    torch.testing.assert_close(guided, (none + 3 * (text - none)) * mask)
    torch.testing.assert_close(back.norm(dim=1), alone.norm(dim=1))
    torch.testing.assert_close(half, (guided + back) / 2)
    way = torch.cosine_similarity(back[..., :30], guided[..., :30], dim=1)
    torch.testing.assert_close(way, torch.ones_like(way))
    assert not back[..., 30:].any()


def test_noise_depends_on_its_seed_alone():
    whole = draw_noise([3], [500])
    for n in (1, 5, 15, 16, 17, 100, 499):
        assert torch.equal(draw_noise([9, 3], [n + 20, n])[1, :, :n], whole[0, :, :n])
        assert torch.equal(draw_noise([3], [n], channels=16), whole[..., :n])
    assert draw_noise([3, 4], [5, 9])[0, :, 5:].abs().max() == 0
    assert abs(whole.mean()) < 0.05 and abs(whole.std() - 1) < 0.03
    assert abs(torch.corrcoef(torch.stack([whole.flatten(), draw_noise([3], [500], draw=1).flatten(),
                                           draw_noise([4], [500]).flatten()]))).fill_diagonal_(0).max() < 0.05


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_batch_equals_one_by_one(sampler):
    torch.manual_seed(0)
    network = torch.nn.Conv1d(16, 16, 5, padding=2)
    lengths, seeds = [5, 90, 33, 1], [7, 8, 9, 7]
    mask = (torch.arange(90) < torch.tensor(lengths)[:, None])[:, None]

    def run(lengths, seeds, mask):
        return sample(lambda z, t, conditional=True: (network(z) + conditional) * mask, draw_noise(seeds, lengths),
                      Schedule("flow"), n_steps=5, sampler=sampler, seeds=seeds, mask=mask, eta=0.5, guidance=1.5,
                      guidance_rescale=0.7)

    together = run(lengths, seeds, mask)
    for row, n, seed in zip(together, lengths, seeds):
        alone = run([n], [seed], torch.ones(1, 1, n))[0]
        torch.testing.assert_close(row[:, :n], alone, rtol=0, atol=1e-5)
        assert row[:, n:].abs().sum() == 0
    assert torch.equal(together, run(lengths, seeds, mask))


def test_starts_shapes_and_callback():
    seen = []
    schedule = Schedule("flow")
    z = sample(lambda z, t: z, (2, 16, 8), schedule, n_steps=4, generator=seeded(), initial_noise="uniform",
               callback=lambda **k: seen.append(k))
    assert z.shape == (2, 16, 8) and z.dtype == torch.float32
    assert [k["step"] for k in seen] == [0, 1, 2, 3] and seen[-1]["log_snr"] == math.inf
    assert seen[0]["log_snr"] == pytest.approx(schedule.log_snr(torch.tensor(0.75)).item())
    assert all(k["z"].shape == k["z_0"].shape == z.shape for k in seen)
    kept = []
    sample(lambda z, t: kept.append(z) or z, torch.randn(1, 1, 100_000), schedule, n_steps=1,
           initial_noise="uniform")
    assert kept[0].min() >= 0 and kept[0].max() <= 1 and abs(kept[0].mean() - 0.5) < 0.01


def test_what_does_not_fit_is_refused():
    def run(**options):
        return sample(lambda z, t: z, (1, 1, 4), **{"schedule": Schedule("flow"), **options})

    for options, message in ((dict(sampler="magic"), "no sampler"), (dict(initial_noise="zero"), "no initial noise"),
                             (dict(target="epsilon"), "use v, z0"),
                             (dict(n_steps=0), "at least 1"), (dict(target="score"), "no target"),
                             (dict(target="epsilon", schedule=Schedule("zero_terminal_snr", 50)), "use v, z0")):
        with pytest.raises(DiffusionError, match=message):
            run(**options)
    assert issubclass(DiffusionError, ValueError)


@pytest.mark.parametrize("kind,target", (("flow", "velocity"), ("linear", "epsilon"), ("zero_terminal_snr", "v")))
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("stops", ((1, 2, 3, 60), (60,), (10, 5, 30, 99)))
def test_left_to_right_equals_all_at_once(sampler, kind, target, stops):
    """Whatever the pieces: guidance, fresh noise, and networks that look further than a piece is long."""
    torch.manual_seed(0)
    a, b = torch.nn.Conv1d(4, 9, 5, padding=4, dilation=2).double(), torch.nn.Conv1d(9, 4, 3, padding=1).double()
    text, z_T, seen = torch.randn(1, 9, 60, **double), torch.randn(1, 4, 60, **double), []

    def denoise(z, t, conditional=True, frames=(0, 60)):
        seen.append(z.shape[-1])
        return b((a(z) + conditional * text[..., slice(*frames)]).tanh() + t[:, None, None])
    options = dict(schedule=Schedule(kind, 50 if kind != "flow" else 0), target=target, n_steps=6, sampler=sampler,
                   guidance=1.5, guidance_rescale=0.6, eta=0.7, seeds=[3])
    pieces = list(stream_latents(denoise, z_T, stops=stops, context=5, **options))
    assert [p.shape[-1] for p in pieces] == [max(0, min(s, 60) - max([0, *stops[:i]])) for i, s in enumerate(stops)]
    torch.testing.assert_close(torch.cat(pieces, -1), sample(denoise, z_T, **options), rtol=0, atol=1e-10)
    assert max(seen) == 60


def test_the_first_piece_costs_a_wedge():
    seen = []

    def denoise(z, t, frames):
        seen.append(frames)
        return z

    first = next(stream_latents(denoise, torch.randn(1, 2, 500), Schedule("flow"), (10,), 3, n_steps=4))
    assert first.shape[-1] == 10 and seen == [(0, 22), (0, 19), (0, 16), (0, 13)]
