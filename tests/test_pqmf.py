"""The filter bank against closed forms, scipy, and itself cut into pieces."""
import numpy as np, pytest, scipy.signal, torch
from torch.nn import functional as F
from hypothesis import given, settings, strategies as st
from latentspeech.audio import signal_to_noise, vowel
from latentspeech.pqmf import (PQMF, PQMFError, cosine_filters, kaiser_prototype, least_squares_prototype, low_pass,
                               overlaps, stop_band,
                               stream_audio, stream_bands, strided_copy)

def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
def there_and_back(pqmf, x):
    return pqmf.inverse(pqmf(x))[..., :x.shape[-1]]


@pytest.mark.parametrize("seed", range(3))
def test_white_noise_comes_back(seed):
    x = randn(1, 1, 48_000, seed=seed)
    assert signal_to_noise(x, there_and_back(PQMF().double(), x)) > 100
    assert signal_to_noise(x.float(), there_and_back(PQMF(), x.float())) > 95
    assert 55 < signal_to_noise(x, there_and_back(PQMF(design="kaiser").double(), x)) < 65


@pytest.mark.parametrize("sound", [vowel("a", 4), vowel("i", 2, breath=0.0), torch.ones(9600),
                                   F.one_hot(torch.tensor(4800), 9600).float(),
                                   torch.sin(torch.arange(9600) * 3.1),
                                   torch.cat([torch.zeros(5000), torch.ones(4600)])])
def test_speech_clicks_and_steps_come_back_edges_included(sound):
    x = sound.double()[None, None]
    error = there_and_back(PQMF().double(), x) - x
    assert error.abs().max() < 1e-5 * x.abs().max()
    assert signal_to_noise(x, x + error) > 100


@pytest.mark.parametrize("n_bands", [2, 3, 4, 5, 8, 10, 16, 32])
def test_any_number_of_bands(n_bands):
    x = randn(2, 1, 4801)
    assert PQMF(n_bands).double()(x).shape == (2, n_bands, -(-4801 // n_bands))
    assert signal_to_noise(x, there_and_back(PQMF(n_bands).double(), x)) > 100


@pytest.mark.parametrize("n_taps", [32, 256, 320, 352, 384, 416])
def test_prototypes(n_taps):
    for design in (kaiser_prototype, least_squares_prototype):
        h = design(16, n_taps)
        assert h.shape == (n_taps,) and np.allclose(h, h[::-1]) and overlaps(h, 16)[0] == pytest.approx(1 / 32)
    assert abs(32 * overlaps(least_squares_prototype(16, n_taps), 16)[1:]).max(initial=0) < 1e-6


@pytest.mark.parametrize("n_taps, cutoff, beta", [(384, 1 / 32, 10.0), (96, 0.15, 5.0), (385, 0.03, 0.0)])
def test_low_pass_equals_scipy(n_taps, cutoff, beta):
    assert np.allclose(low_pass(n_taps, cutoff, beta), scipy.signal.firwin(n_taps, cutoff, window=("kaiser", beta)),
                       atol=1e-12)


def test_no_other_cutoff_overlaps_less():
    def leak(h):
        return abs(overlaps(h / np.sqrt(32 * (h @ h)), 16)[1:]).max()
    best = leak(kaiser_prototype(16, 384, 100.0))
    assert all(best <= leak(low_pass(384, c / 16, 0.1102 * 91.3)) + 1e-9 for c in np.linspace(0.4, 0.7, 500))


@pytest.mark.parametrize("n_bands", [4, 16])
def test_the_yardstick_for_speed_does_the_same(n_bands):
    pqmf, x = PQMF(n_bands).double(), randn(2, 1, n_bands * 300)
    assert signal_to_noise(x[..., 400:-400], strided_copy(pqmf, x)[..., 400:-400]) > 100


def test_the_stop_band_is_quiet():
    for design in (kaiser_prototype, least_squares_prototype):
        h = design(16, 384)
        frequencies, response = scipy.signal.freqz(h, worN=np.linspace(np.pi / 16, np.pi, 50_000))
        measured = 20 * np.log10(abs(response).max() / h.sum())
        assert measured < -85 and stop_band(h, 16) == pytest.approx(measured, abs=0.3)


def test_bands_equal_scipy_away_from_the_edges():
    x = randn(4800)
    filters = cosine_filters(least_squares_prototype(), 16)
    ours = PQMF().double()(x[None, None])[0]
    for k in (0, 7, 15):
        full = np.correlate(np.pad(x.numpy(), 184), filters[k], "valid")[::16]
        assert np.allclose(ours[k, 12:-12], full[12:len(ours[k]) - 12], atol=1e-6)


def test_bands_are_in_order_and_keep_their_level():
    for k in range(16):
        tone = torch.sin(2 * torch.pi * 1500 * (k + 0.4) / 48_000 * torch.arange(24_000).double())
        power = PQMF().double()(tone[None, None])[0, :, 20:-20].square().mean(1)
        assert power.argmax() == k and power[k] == pytest.approx(0.5, rel=0.02)
        assert all(power[j] < 1e-8 for j in range(16) if abs(j - k) > 1)


def test_a_muted_band_leaves_a_hole_and_an_alias():
    tone = torch.sin(2 * torch.pi * 3100 / 48_000 * torch.arange(24_000).double())
    pqmf = PQMF().double()
    bands = pqmf(tone[None, None])
    bands[:, 1] = 0
    spectrum = torch.fft.rfft(pqmf.inverse(bands)[0, 0] * torch.hann_window(24_000).double()).abs() / 6000
    assert spectrum[1450] > 0.1                              # the false tone at 2,900 Hz
    assert there_and_back(pqmf, tone[None, None]).sub(tone).abs().max() < 1e-5


def test_the_inverse_is_the_transpose_and_energy_is_kept():
    pqmf, x, y = PQMF().double(), randn(1, 1, 8000), randn(1, 16, 500, seed=1)
    x[..., :400] = x[..., -400:] = 0  # the continuation of silence is silence
    assert (pqmf(x) * y).sum() * 16 == pytest.approx((x * pqmf.inverse(y)).sum().item(), rel=1e-6)
    assert pqmf(x).square().sum() * 16 == pytest.approx(x.square().sum().item(), rel=1e-4)


def test_the_continuation_beyond_the_edges_is_no_louder_than_the_sound():
    gains = torch.linalg.matrix_norm(PQMF().double().continuations, 2)
    assert gains.max() < 1.01


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 1200), st.sampled_from([2, 4, 16]))
def test_any_length(length, n_bands):
    x, pqmf = randn(1, 1, length), PQMF(n_bands).double()
    assert pqmf(x).shape[2] == -(-length // n_bands)
    assert (there_and_back(pqmf, x) - x).abs().max() < 1e-4


def test_gradients_are_true():
    pqmf = PQMF(4, 32).double()
    for length in (10, 50):
        assert torch.autograd.gradcheck(pqmf, randn(2, 1, length).requires_grad_())
    assert torch.autograd.gradcheck(pqmf.inverse, randn(2, 4, 9).requires_grad_())


@pytest.mark.parametrize("cuts", [[4801], [1] * 250 + [4551], [100, 91, 1, 4609], [16] * 300 + [1], [192, 4609],
                                  [384, 400, 4017]])
def test_streams_equal_the_whole(cuts):
    pqmf, x = PQMF().double(), randn(2, 1, 4801)
    bands = torch.cat(list(stream_bands(pqmf, x.split(cuts, 2))), 2)
    assert torch.allclose(bands, pqmf(x), atol=1e-12)
    for size in (1, 7, 64, 400):
        assert torch.allclose(torch.cat(list(stream_audio(pqmf, bands.split(size, 2))), 2), pqmf.inverse(bands),
                              atol=1e-12)


@pytest.mark.parametrize("length", [1, 15, 100, 191, 192, 193, 384])
def test_short_streams(length):
    pqmf, x = PQMF().double(), randn(1, 1, length)
    bands = torch.cat(list(stream_bands(pqmf, x.split(10, 2))), 2)
    assert torch.allclose(bands, pqmf(x), atol=1e-12)
    assert torch.allclose(torch.cat(list(stream_audio(pqmf, bands.split(1, 2))), 2), pqmf.inverse(bands), atol=1e-12)


def test_streams_hold_little_back():
    out = [b.shape[2] for b in stream_bands(PQMF(), torch.zeros(1, 1, 16_000).split(1600, 2))]
    assert sum(out) == 1000 and min(out[1:-1]) == 100 and list(stream_bands(PQMF(), [])) == []


@pytest.mark.parametrize("bad", [torch.zeros(1, 2, 100), torch.zeros(100), torch.zeros(1, 100),
                                 torch.zeros(1, 1, 0), torch.zeros(0, 1, 10)])
def test_wrong_shapes_are_refused(bad):
    with pytest.raises(PQMFError, match="not .batch, 1, samples"):
        PQMF()(bad)


def test_wrong_bands_and_designs_are_refused():
    with pytest.raises(PQMFError, match="16, frames"):
        PQMF().inverse(torch.zeros(1, 8, 10))
    for arguments in ((16, 385), (1, 48), (0, 0), (16, 16), (16, 384, "best")):
        with pytest.raises(PQMFError):
            PQMF(*arguments)
    with pytest.raises(PQMFError, match="24|96"):
        PQMF(4, 384)


@pytest.mark.parametrize("dtype, floor", [(torch.float16, 40), (torch.bfloat16, 25), (torch.float32, 95),
                                          (torch.float64, 100)])
def test_other_precisions(dtype, floor):
    for length in (1, 100, 4801):
        x, pqmf = (randn(2, 1, length) / 8).to(dtype), PQMF().to(dtype)
        y = there_and_back(pqmf, x)
        assert y.dtype == dtype and signal_to_noise(x, y) > floor


def test_synthesis_is_the_transposed_convolution():
    pqmf, bands = PQMF(8).double(), randn(2, 8, 50)
    filters = torch.tensor(cosine_filters(least_squares_prototype(8, 192), 8))[:, None]
    oracle = 8 * F.conv_transpose1d(bands, filters, stride=8, padding=92)
    assert torch.allclose(pqmf.inverse(bands), oracle, atol=1e-6)


def test_mixed_precision_does_not_spoil_it():
    x = randn(1, 1, 9600).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = there_and_back(PQMF(), x)
    assert y.dtype == torch.float32 and signal_to_noise(x, y) > 95


def test_nothing_is_stored_with_the_weights_and_designs_repeat():
    assert not PQMF().state_dict() and torch.equal(PQMF().weight, PQMF().weight)
    assert not least_squares_prototype().flags.writeable


def test_inference_mode_and_bounded_values():
    with torch.inference_mode():
        bands = PQMF()(torch.ones(1, 1, 960))
    assert bands.isfinite().all() and bands.abs().max() < 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_is_exact_and_can_be_captured():
    pqmf, x = PQMF().cuda(), randn(4, 1, 48_000).float().cuda()
    assert signal_to_noise(x.cpu(), there_and_back(pqmf, x).cpu()) > 95
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert signal_to_noise(x.cpu(), there_and_back(pqmf, x).cpu()) > 95
    bands, graph, stream = pqmf(x), torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(3):
            pqmf.inverse(bands)
    torch.cuda.synchronize()
    with torch.no_grad(), torch.cuda.graph(graph):
        out = pqmf.inverse(pqmf(x))
    x.copy_(x.roll(7, 2))
    graph.replay()
    assert signal_to_noise(x.cpu(), out[..., :48_000].cpu()) > 95
