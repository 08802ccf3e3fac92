"""The losses against other libraries and closed forms, on odd input, and their gradients."""
import itertools, math
import numpy as np
import pytest, torch
from latentspeech.audio import fade, load_torchaudio, mel_filters, vowel
from latentspeech.config import LossConfig, preset
from latentspeech.losses import (FLOOR, WINDOWS, LossError, MultiPeriodDiscriminator, MultiResolutionDiscriminator,
                                 ReconstructionLoss,
                                 adversarial_loss, band_distance, discriminator_loss, envelope_distance,
                                 feature_matching_loss,
                                 magnitude, mel_distance,
                                 paper_loss, periodicity_distance, phase_distance, repetition, repetition_distance,
                                 spectral_convergence,
                                 stft_distance)
from latentspeech.pqmf import PQMF

torchaudio = load_torchaudio()


def noise(*shape, seed=0):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


DISTANCES = [mel_distance, spectral_convergence, stft_distance]


@pytest.mark.parametrize("n", WINDOWS)
def test_magnitude_against_torchaudio(n):
    audio = noise(2, 5000)
    oracle = torchaudio.transforms.Spectrogram(n, hop_length=n // 4, power=1,
                                               pad_mode="constant")(audio) / torch.hann_window(n).sum()
    torch.testing.assert_close(magnitude(audio, n), oracle, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("n", (2048, 512, 128))
def test_mel_distance_against_torchaudio(n):
    a, b = noise(3, 1, 9000), noise(3, 1, 9000, seed=1)
    n_mels = min(160, max(5, n // 16))
    mel = torchaudio.transforms.MelSpectrogram(48_000, n, hop_length=n // 4, n_mels=n_mels, power=1,
                                               pad_mode="constant")
    used = mel.mel_scale.fb.sum(0) > 0
    def log(x):
        return (mel(x)[..., used, :] / torch.hann_window(n).sum()).clamp(min=FLOOR).log()
    torch.testing.assert_close(mel_distance(a, b, (n,)), (log(a) - log(b)).abs().mean(), atol=1e-5, rtol=1e-4)


def test_convergence_by_its_formula():
    a, b = noise(3, 9000), noise(3, 9000, seed=1)
    spectrum = torchaudio.transforms.Spectrogram(512, hop_length=128, power=1, pad_mode="constant")
    oracle = torch.stack([(spectrum(y) - spectrum(x)).norm() / spectrum(y).norm() for x, y in zip(a, b)]).mean()
    torch.testing.assert_close(spectral_convergence(a, b, (512,)), oracle, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("gain", (0.25, 0.5, 2.0))
def test_gain_in_closed_form(gain):
    "A louder copy is |log gain| away in log mels and |1 - gain| in convergence and bands."
    audio = noise(2, 1, 9000)
    assert mel_distance(gain * audio, audio) == pytest.approx(abs(math.log(gain)), rel=0.02)
    assert spectral_convergence(gain * audio, audio) == pytest.approx(abs(1 - gain), rel=1e-3)
    assert band_distance(gain * audio, audio) == pytest.approx(abs(1 - gain), rel=1e-4)


@pytest.mark.parametrize("distance", DISTANCES + [band_distance])
def test_zero_when_equal_and_more_noise_more_distance(distance):
    audio = noise(2, 1, 9000)
    assert distance(audio, audio) == 0
    far = [distance(audio + s * noise(2, 1, 9000, seed=1), audio) for s in (0.01, 0.1, 1.0)]
    assert 0 < far[0] < far[1] < far[2]


def test_phase_turns_by_their_formula():
    "The angle between neighbours, in time and in frequency, weighted by the root of the fainter of the two."
    a, b = noise(2, 1, 9000), noise(2, 1, 9000, seed=1)
    spectrum = torchaudio.transforms.Spectrogram(512, hop_length=128, power=None, pad_mode="constant")
    mine, true = (spectrum(x)[:, 0, 1:int(4000 * 512 / 48_000)] / 256 for x in (a, b))
    errors = []
    for axis in (-2, -1):
        angles = [torch.diff(x.angle(), dim=axis) for x in (mine, true)]
        size = true.abs().sqrt() * (true.abs() > 2e-4)
        weight = torch.minimum(size.narrow(axis, 0, size.shape[axis] - 1), size.narrow(axis, 1, size.shape[axis] - 1))
        errors.append(((1 - torch.cos(angles[0] - angles[1])) * weight).sum() / weight.sum())
    torch.testing.assert_close(phase_distance(a, b, (512,)), sum(errors) / 2, atol=5e-3, rtol=5e-3)


def test_envelopes_by_their_formula():
    "Energy in 24 mel bands below 8 kHz: the root mean square of log ratios less their mean, and a correlation in time."
    a, b = 0.1 * noise(2, 1, 20_000), 0.1 * noise(2, 1, 20_000, seed=1)
    spectrum = torchaudio.transforms.Spectrogram(1024, hop_length=256, power=2, pad_mode="constant")
    bank = mel_filters(1024, 48_000, 24, 0.0, 8000.0).numpy()
    mine, true = (np.sqrt(np.einsum("mf,bft->bmt", bank, spectrum(x)[:, 0].numpy() / 512 ** 2)) for x in (a, b))
    apart = np.log(mine) - np.log(true)
    level = (true ** 2).sum(1)
    shapes = np.sqrt(((apart - apart.mean(1, keepdims=True)) ** 2).mean(1) + 1e-4)[level > 0.01 * level.mean()].mean()
    moves = np.mean([1 - np.corrcoef(x, y)[0, 1] for x, y in zip(mine.reshape(48, -1), true.reshape(48, -1))])
    found = envelope_distance(a, b)
    assert found["envelope"].item() == pytest.approx(shapes, rel=1e-3)
    assert found["modulation"].item() == pytest.approx(moves, rel=1e-3)


@pytest.mark.parametrize("gain", (0.7, 1.0, 2.0))
def test_envelopes_forgive_level_and_sign_but_neither_tilt_nor_delay(gain):
    voice = fade(torch.cat([vowel("a", 4, 0.3), vowel("i", 2, 0.3)]))[None, None]
    same = envelope_distance(-gain * voice, voice)
    assert same["envelope"] < 0.03 and same["modulation"] < 1e-4      # 0.01 is the floor of the root
    assert envelope_distance(voice - 0.9 * voice.roll(1, -1), voice)["envelope"] > 0.3
    assert envelope_distance(gain * voice.roll(2400, -1), voice)["modulation"] > 0.2


def test_faint_moments_have_no_shape_and_still_bands_no_movement():
    voice = torch.cat([vowel("a", 1, 0.3), torch.zeros(9600)])[None, None]
    rustle = torch.cat([torch.zeros(1, 1, 14_400 + 1024), 1e-3 * noise(1, 1, 9600 - 1024)], -1)
    assert envelope_distance(voice + rustle, voice)["envelope"] < 0.02
    still = torch.zeros(2, 1, 9000)
    assert envelope_distance(noise(2, 1, 9000), still)["modulation"] == 0


def autocorrelations(sound):
    "Of each frame under a Hann window, from 40 to 900 Hz, at the periods of voices: by the inverse transform."
    spectrum = torchaudio.transforms.Spectrogram(2048, hop_length=512, power=2, pad_mode="constant")(sound)
    power = torch.zeros_like(spectrum)
    power[:, 2:38] = spectrum[:, 2:38]
    alike = torch.fft.irfft(power, dim=1)
    return (alike / alike[:, :1])[:, 60:685:12], power.sum(1)


def test_periodicity_by_its_formula():
    a, b = 0.1 * noise(2, 20_000), 0.1 * noise(2, 20_000, seed=1)
    (mine, _), (true, _) = autocorrelations(a), autocorrelations(b)
    expected = ((mine - true).square().mean(1) + 1e-4).sqrt().mean()
    assert periodicity_distance(a, b).item() == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("gain", (0.5, 1.0, 2.0))
def test_periodicity_hears_a_faint_buzz_and_forgives_level_and_sign(gain):
    "A decoder said each half frame of a breath twice: a voice of 94 Hz, 30 dB below the vowels."
    voice = vowel("a", 1, 0.3)[None, None]
    breath, otherwise = (0.02 * noise(1, 1, 14_400, seed=seed) for seed in (1, 2))
    true, buzz = (torch.cat([voice, x], -1) for x in (breath, otherwise[..., :512].repeat(1, 1, 29)[..., :14_400]))
    assert periodicity_distance(-gain * true, true) < 0.02            # 0.01 is the floor of the root
    assert periodicity_distance(gain * buzz, true) > periodicity_distance(torch.cat([voice, otherwise], -1), true)


def test_what_is_silent_has_no_period():
    silent = torch.zeros(2, 1, 9000)
    assert periodicity_distance(noise(2, 1, 9000), silent) == 0


def high(seed, length=24_576):
    "Hiss, in bands."
    return PQMF()(0.05 * noise(2, 1, length, seed=seed))


@pytest.mark.parametrize("lag", (512, 1024, 1536, 2048))
def test_repetition_hears_whatever_returns_with_the_frames(lag):
    """A hiss that comes back after half a latent frame, or one, or two, is far from any hiss; another hiss is near."""
    buzz = PQMF()((0.05 * noise(2, 1, lag)).repeat(1, 1, 48)[..., :24_576])
    true = high(1)
    assert repetition_distance(high(2), true) < 0.03 and repetition_distance(0.3 * true, true) < 1e-6
    assert repetition_distance(buzz, true) > 0.2                # two of four lags, at least one
    assert repetition_distance(buzz, buzz.flip(-1)) < 0.01      # an original that buzzes may be copied


def test_repetition_leaves_voices_silence_and_short_sounds_alone():
    voice = PQMF()(vowel("a", 1, 0.5)[None, None])
    assert repetition_distance(high(1)[:1, :, :voice.shape[-1]], voice[..., :1536]) < 0.2
    silent = torch.zeros(2, 16, 1536)
    assert repetition_distance(high(1), silent) == 0 and repetition_distance(high(1, 2048), high(2, 2048)) == 0


def test_a_buzz_learns_to_forget_itself():
    """Walking downhill, what returned stops returning: the slope points where it should."""
    true, buzz = high(1), PQMF()((0.05 * noise(2, 1, 512)).repeat(1, 1, 48)).requires_grad_()
    walk, before = torch.optim.Adam([buzz], 3e-3), repetition(PQMF().inverse(buzz.detach()))
    for _ in range(40):
        walk.zero_grad()
        repetition_distance(buzz, true).backward()
        walk.step()
    assert repetition(PQMF().inverse(buzz.detach())) < 0.3 < 0.9 < before


def test_phase_turns_forgive_sign_and_delay_but_not_another_sound():
    audio = noise(2, 1, 24_000)
    assert phase_distance(-audio, audio) < 0.02 and phase_distance(audio.roll(4, -1), audio) < 0.1
    assert 0.6 < phase_distance(noise(2, 1, 24_000, seed=1), audio) < 0.7


def test_loss_of_base_leaves_the_upper_bands_free():
    "Its band error hears the two lowest of sixteen, and its mel filters are finer than by default."
    loss, (a, b) = ReconstructionLoss(config=preset("base").loss), (noise(1, 1, 9000), noise(1, 1, 9000, seed=1))
    bands = noise(1, 16, 600)
    other = torch.cat([bands[:, :2], noise(1, 14, 600, seed=1)], 1)
    value, terms = loss(a, b, other, bands)
    assert terms["band"] == 0 and terms["mel"] > mel_distance(a, b)
    weighted = 1.5 * terms["mel"] + terms["convergence"] + 0.25 * terms["phase"]
    weighted = weighted + 0.75 * terms["envelope"] + 2 * terms["modulation"] + 1.5 * terms["periodicity"]
    torch.testing.assert_close(value, weighted)
    torch.testing.assert_close(terms["periodicity"], periodicity_distance(a, b))
    torch.testing.assert_close({k: terms[k] for k in ("envelope", "modulation")}, envelope_distance(a, b))


def test_only_the_band_term_hears_phase():
    audio = torch.sin(torch.arange(24_000) * 2 * math.pi * 1000 / 48_000)[None, None]
    loss, terms = ReconstructionLoss()(-audio, audio, -audio, audio)
    assert terms["mel"] == 0 and terms["convergence"] == 0 and terms["band"] == pytest.approx(2)


@pytest.mark.parametrize("length", (1, 31, 100, 1500, 9000))
@pytest.mark.parametrize("target", ("silence", "click", "full scale"))
def test_finite_with_finite_gradients(length, target):
    true = torch.zeros(2, 1, length)
    if target == "click":
        true[..., length // 2] = 1
    if target == "full scale":
        true += 1
    for start, more in itertools.product((torch.zeros(2, 1, length), noise(2, 1, length)), (0, 1)):
        prediction = start.clone().requires_grad_()
        criterion = ReconstructionLoss(phase=more, envelope=more, modulation=more, periodicity=more,
                                       repetition=more)
        loss, terms = criterion(prediction, true, prediction, true)
        loss.backward()
        assert loss.isfinite() and prediction.grad.isfinite().all()
        new = {"phase", "envelope", "modulation", "periodicity", "repetition"} if more else set()
        assert set(terms) == {"mel", "convergence", "band"} | new


def test_sum_of_terms_and_shared_spectra():
    a, b = noise(2, 1, 9000), noise(2, 1, 9000, seed=1)
    loss, terms = ReconstructionLoss(mel=2, convergence=3, band=4)(a, b, a, b)
    torch.testing.assert_close(terms["mel"], mel_distance(a, b))
    torch.testing.assert_close(terms["convergence"], spectral_convergence(a, b))
    torch.testing.assert_close(loss, 2 * terms["mel"] + 3 * terms["convergence"] + 4 * terms["band"])
    assert "band" not in ReconstructionLoss()(a, b)[1]


@pytest.mark.parametrize("distance", DISTANCES + [band_distance, ReconstructionLoss()])
def test_shapes_must_match(distance):
    with pytest.raises(LossError):
        distance(torch.zeros(1, 1, 100), torch.zeros(1, 1, 101))


def test_autocast_changes_nothing():
    a, b = noise(2, 1, 9000), noise(2, 1, 9000, seed=1)
    plain = ReconstructionLoss()(a, b, a, b)[0]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(ReconstructionLoss()(a, b, a, b)[0], plain)
    assert ReconstructionLoss()(a.bfloat16(), b.bfloat16(), a, b)[0].dtype == torch.float32


def test_first_use_in_inference_mode_does_not_poison_training():
    "Windows and filters are cached: made under inference_mode they could never be used in a backward pass."
    with torch.inference_mode():
        ReconstructionLoss((768, 384))(noise(1, 1, 3000), noise(1, 1, 3000, seed=1))
    prediction = noise(1, 1, 3000).requires_grad_()
    ReconstructionLoss((768, 384))(prediction, noise(1, 1, 3000, seed=1))[0].backward()
    assert prediction.grad.isfinite().all()


def test_paper_loss():
    bands = noise(2, 16, 1024).requires_grad_()
    assert paper_loss(bands, bands) == 0
    paper_loss(bands, noise(2, 16, 1024, seed=1)).backward()
    assert bands.grad.isfinite().all()


@pytest.mark.parametrize("make, count", [(MultiPeriodDiscriminator, 5), (MultiResolutionDiscriminator, 3)])
@pytest.mark.parametrize("length", (4000, 8192))
def test_discriminators(make, count, length):
    torch.manual_seed(0)
    judge, real, fake = make(), noise(2, 1, length), noise(2, 1, length, seed=1).requires_grad_()
    assert sum(p.numel() for p in judge.parameters()) < 1_000_000
    verdicts = judge(real)
    assert len(verdicts) == count
    assert all(s.shape[0] == 2 and len(f) == 3 + (make is MultiPeriodDiscriminator) for s, f in verdicts)
    (adversarial_loss(judge(fake)) + feature_matching_loss(verdicts, judge(fake))).backward()
    assert fake.grad.abs().sum() > 0 and fake.grad.isfinite().all()
    judge.zero_grad()
    discriminator_loss(judge(real), judge(fake.detach())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in judge.parameters())


def test_judges_are_small():
    assert sum(p.numel() for make in (MultiPeriodDiscriminator, MultiResolutionDiscriminator)
               for p in make().parameters()) < 1_500_000


def test_phases_of_a_period_are_judged_on_their_own():
    "A change of every 7th sample moves the scores of one column only."
    torch.manual_seed(0)
    judge, audio = MultiPeriodDiscriminator((7,)), noise(1, 1, 7 * 400)
    other = audio.clone()
    other[..., 3::7] += 0.1
    (before, seen), (after, seen_then) = judge(audio)[0], judge(other)[0]
    for a, b in zip([before, *seen], [after, *seen_then]):
        assert [i for i in range(7) if not torch.equal(a[..., i], b[..., i])] == [3]


@pytest.mark.parametrize("make", [MultiPeriodDiscriminator, MultiResolutionDiscriminator])
def test_true_and_false_part_after_a_few_steps(make):
    "Judges learn to tell harmonic sounds from hiss of the same level, on sounds they haven't met."
    torch.manual_seed(0)
    judge = make()
    optimiser = torch.optim.Adam(judge.parameters(), 2e-3, (0.8, 0.99))
    def sounds(seed):
        draw, t = torch.Generator().manual_seed(seed), torch.arange(4096) / 48_000
        pitch = 100 + 200 * torch.rand(4, 1, 1, generator=draw)
        true = sum(torch.sin(2 * math.pi * k * pitch * t) / k for k in range(1, 20))
        return 0.1 * true / true.std(), 0.1 * torch.randn(4, 1, 4096, generator=draw)
    for step in range(15):
        true, false = sounds(step)
        discriminator_loss(judge(true), judge(false)).backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        true, false = (torch.stack([s.mean() for s, _ in judge(x)]).mean() for x in sounds(99))
    assert true > false + 0.2


def test_feature_matching_teaches_only_the_decoder():
    judge = MultiPeriodDiscriminator((2,))
    verdicts = judge(noise(1, 1, 4000))
    assert feature_matching_loss(verdicts, verdicts) == 0
    assert not feature_matching_loss(verdicts, [(s.detach(), [f.detach() for f in fs]) for s,
                                                fs in verdicts]).requires_grad


def test_perfect_verdicts_cost_nothing():
    one, zero = [(torch.ones(1, 1), [])], [(torch.zeros(1, 1), [])]
    assert discriminator_loss(one, zero) == 0 and adversarial_loss(one) == 0 and adversarial_loss(zero) == 1


def test_repetition_of_hiss_of_a_buzz_and_of_what_does_not_hiss():
    hiss = noise(48_000)
    buzz = noise(512).repeat(94)
    assert abs(repetition(hiss)) < 0.05 and repetition(buzz) == pytest.approx(1, abs=1e-3)
    assert abs(repetition(buzz, lag=300)) < 0.2 and repetition(torch.stack([hiss[:48_000], buzz[:48_000]])) < 0.6
    tone = torch.sin(torch.arange(48_000) * 2 * math.pi * 300 / 48_000)
    for other in (tone, torch.zeros(48_000), hiss[:4095]):
        assert math.isnan(repetition(other))


def spread(one, other, target, criterion=ReconstructionLoss()):
    "Return how far apart the loss finds two draws."
    return criterion(torch.cat([one, other]), target)[1]["spread"]


@pytest.mark.parametrize("config", [LossConfig(), preset("base").loss, LossConfig(spread=0.0)])
def test_two_draws_cost_the_mean_of_both_less_half_their_spread(config):
    "Bands and phases included; sounds of unequal level, so that no draw or sound may stand in for another."
    gain = torch.tensor([0.3, 1.0, 2.0])[:, None, None]
    one, other, true = (gain * noise(3, 1, 9600, seed=seed) for seed in range(3))
    def in_bands(audio):
        return audio.reshape(len(audio), 16, -1)
    criterion, both = ReconstructionLoss(config=config), torch.cat([one, other])
    loss, terms = criterion(both, true, in_bands(both), in_bands(true))
    alone = [criterion(draw, true, in_bands(draw), in_bands(true)) for draw in (one, other)]
    apart = terms.pop("spread")
    assert set(terms) == set(alone[0][1]) == set(alone[1][1]) and apart > 0.1
    for name, value in terms.items():
        torch.testing.assert_close(value, (alone[0][1][name] + alone[1][1][name]) / 2)
    torch.testing.assert_close(loss, (alone[0][0] + alone[1][0]) / 2 + config.spread * apart)
    assert config.spread in (-0.5, 0)


@pytest.mark.parametrize("draws, sounds", [(6, 2), (3, 2), (1, 2), (0, 2), (2, 0)])
def test_one_or_two_draws_and_no_other_number(draws, sounds):
    with pytest.raises(LossError, match="one or two draws"):
        ReconstructionLoss()(noise(draws, 1, 3000), noise(sounds, 1, 3000))
    with pytest.raises(LossError):      # bands of one draw beside the sounds of two
        ReconstructionLoss()(noise(4, 1, 3200), noise(2, 1, 3200), noise(2, 16, 200), noise(2, 16, 200))


def test_spread_is_the_distance_that_the_loss_measures():
    one, other = noise(2, 1, 9000), noise(2, 1, 9000, seed=1)
    criterion = ReconstructionLoss(mel=1.5, convergence=0.5, hiss_from=-1)
    wanted = 1.5 * mel_distance(one, other) + 0.5 * spectral_convergence(one, other)
    torch.testing.assert_close(spread(one, other, other, criterion), wanted)
    assert spread(one, other, 2 * other, criterion) < wanted   # the same wobble counts less in what is loud


@pytest.mark.parametrize("target", [noise(1, 1, 6000, seed=2), torch.zeros(1, 1, 6000)])
def test_spread_has_finite_slopes_where_draws_agree(target):
    draws = noise(1, 1, 6000).repeat(2, 1, 1).requires_grad_()
    loss, terms = ReconstructionLoss()(draws, target)
    loss.backward()
    assert terms["spread"] < 2e-3 and draws.grad.isfinite().all()


def test_only_hiss_of_the_right_size_has_the_best_score():
    truth, criterion = noise(8, 1, 12_000), ReconstructionLoss(band=0, hiss_from=-1)
    def score(size):
        return criterion(torch.cat([size * noise(8, 1, 12_000, seed=seed) for seed in (1, 2)]), truth)[0].item()
    scores = {size: score(size) for size in (0.25, 0.5, 1.0, 2.0, 4.0)}
    assert min(scores, key=scores.get) == 1.0, scores


def test_low_down_and_where_nothing_hisses_draws_may_not_differ():
    one = noise(1, 1, 12_000)
    hum = 0.1 * torch.sin(torch.arange(12_000) * 2 * math.pi * 500 / 48_000) * torch.hann_window(12_000)
    assert spread(one, one + hum, one) < 0.02 < spread(one, noise(1, 1, 12_000, seed=1), one)
    voiced = one + 2 * torch.sin(torch.arange(12_000) * 2 * math.pi * 300 / 48_000)
    assert spread(one, noise(1, 1, 12_000, seed=1), voiced) < 0.002
