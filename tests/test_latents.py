"""Latent measures against closed forms; a cache that is never stale, never damaged."""
import json, math
from types import SimpleNamespace
import pytest, torch
from hypothesis import given, settings, strategies
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import FRAME, AutoencoderConfig
from latentspeech.experiments import downstream as sweep
from latentspeech.files import sha256
from latentspeech.latents import (
    LatentError,
    cache_latents,
    entropy,
    latent_statistics,
    numbers_a_second,
    sparsity,
    unwhiten,
    whiten,
)

SMALL = AutoencoderConfig(channels=(8, 8, 8, 8), residual_units=0)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def corpus(n=3, length=5000):
    sounds, calls = {f"u{i}": 0.1 * noise(length + i, seed=i) for i in range(n)}, []
    def audio(utterance):
        calls.append(utterance.id)
        return sounds[utterance.id]
    return SimpleNamespace(utterances=[SimpleNamespace(id=k, seconds=len(v) / 48_000) for k, v in sounds.items()],
                           audio=audio, calls=calls,
                           sound_sha256=lambda u: sha256(sounds[u.id].numpy().tobytes()))


def make(seed=0):
    torch.manual_seed(seed)
    return Autoencoder(SMALL).eval()


def test_statistics_weigh_frames_not_utterances():
    a, b = noise(16, 10), 5 + 3 * noise(16, 990, seed=1)
    mean, std = latent_statistics([a, b])
    whole = torch.cat([a, b], 1)
    torch.testing.assert_close(mean, whole.mean(1))
    torch.testing.assert_close(std, whole.std(1, unbiased=False))
    torch.testing.assert_close(unwhiten(whiten(whole, mean, std), mean, std), whole)
    assert whiten(whole.expand(2, 3, 16, 1000), mean, std).shape == (2, 3, 16, 1000)


def test_statistics_survive_a_large_offset():
    mean, std = latent_statistics([1e4 + noise(2, 100_000)])
    assert std.sub(1).abs().max() < 0.02 and mean.sub(1e4).abs().max() < 0.1


@given(n=strategies.integers(2, 200), scale=strategies.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_sparsity_lies_between_its_ends(n, scale):
    values = scale * noise(n, seed=n)
    assert -1e-9 <= sparsity(values) <= 1 + 1e-9
    assert sparsity(values) == pytest.approx(sparsity(-values.flip(0) / scale), abs=1e-5)


def test_sparsity_of_a_gaussian_in_closed_form():
    n = 100_000   # E|x| / rms = sqrt(2 / pi)
    assert sparsity(noise(n)) == pytest.approx((n ** 0.5 - (2 / math.pi) ** 0.5 * n ** 0.5) / (n ** 0.5 - 1), abs=2e-3)


@pytest.mark.parametrize("step", (0.5, 0.1, 0.05))
def test_entropy_in_closed_form(step):
    gaussian, uniform = noise(2, 400_000), torch.rand(2, 400_000, generator=torch.Generator().manual_seed(0))
    assert entropy(gaussian, step) == pytest.approx(0.5 * math.log2(2 * math.pi * math.e) - math.log2(step), abs=0.02)
    assert entropy(uniform, step) == pytest.approx(math.log2(12 ** 0.5) - math.log2(step), abs=0.06)
    assert entropy(torch.zeros(2, 50), step) == 0


@pytest.mark.parametrize("bad", [[], None])
def test_nothing_to_measure(bad):
    with pytest.raises(LatentError):
        latent_statistics(bad or [])
    with pytest.raises(LatentError):
        sparsity(torch.zeros(9))


def test_a_twentieth_of_a_mel_spectrogram():
    assert numbers_a_second(torch.zeros(16, 469),
                            480_000) / numbers_a_second(torch.zeros(80, 1873), 480_000) == pytest.approx(0.05, abs=1e-3)


def test_cache_equals_encoding(tmp_path):
    autoencoder, data = make(), corpus()
    cache = cache_latents(autoencoder, data, tmp_path, progress=False)
    assert list(cache) == ["u0", "u1", "u2"] and data.calls == ["u0", "u1", "u2"]
    for u in data.utterances:
        with torch.no_grad():
            whole = autoencoder.encode(data.audio(u)[None, None])[0]
        torch.testing.assert_close(cache[u.id], whole)
        assert cache[u.id].shape == (16, -(-len(data.audio(u)) // FRAME)) and cache[u.id].dtype == torch.float32


def test_cache_is_read_the_second_time_and_can_be_trained_on(tmp_path):
    first = cache_latents(make(), corpus(), tmp_path, progress=False)
    data = corpus()
    again = cache_latents(make(), data, tmp_path, progress=False)
    assert not data.calls and all(torch.equal(first[k], again[k]) for k in first)
    for cache in (first, again):  # an inference tensor would be refused here
        weight = torch.ones((), requires_grad=True)
        (weight * cache["u0"]).square().sum().backward()


def test_other_weights_statistics_or_corpus_are_encoded_anew(tmp_path):
    paths = {cache_latents(make(), corpus(), tmp_path, progress=False).path}
    paths.add(cache_latents(make(seed=1), corpus(), tmp_path, progress=False).path)
    paths.add(cache_latents(make().fit_statistics([noise(16, 50)]), corpus(), tmp_path, progress=False).path)
    paths.add(cache_latents(make(), corpus(4), tmp_path, progress=False).path)
    paths.add(cache_latents(make(), corpus(3, 6000), tmp_path, progress=False).path)
    assert len(paths) == 5


@pytest.mark.parametrize("how", ["bit", "short", "no card"])
def test_damaged_cache_is_made_again(tmp_path, how):
    good = cache_latents(make(), corpus(), tmp_path, progress=False)
    data = bytearray(good.path.read_bytes())
    if how == "bit":
        data[-3] ^= 4
        good.path.write_bytes(data)
    if how == "short":
        good.path.write_bytes(data[:-9])
    if how == "no card":
        good.path.with_suffix(".json").unlink()
    source = corpus()
    again = cache_latents(make(), source, tmp_path, progress=False)
    assert len(source.calls) == 3 and all(torch.equal(good[k], again[k]) for k in good)


def test_training_mode_is_not_left_changed(tmp_path):
    autoencoder = make().train()
    before = {k: v.clone() for k, v in autoencoder.state_dict().items()}
    cache_latents(autoencoder, corpus(), tmp_path, progress=False)
    assert all(torch.equal(v, before[k]) for k, v in autoencoder.state_dict().items())


def test_the_sweep_goes_on_where_it_stopped(tmp_path, monkeypatch):
    "Two sizes are trained for two steps each; the second call finds both rows; other settings begin anew."
    monkeypatch.setattr(sweep, "SIZES", [(4, 1024), (16, 2048)])
    file = tmp_path / "sweep.json"
    def run():
        sweep.latent_sizes(preset="tiny", limit=2, widths=(8, 8, 8, 8), steps=2, work=str(tmp_path), out=str(file))
        return json.loads(file.read_text())
    result = run()
    assert [r["name"] for r in result["rows"]] == ["natural", "4x1024", "16x2048"]
    assert result["command"] == ("latentspeech experiment latent-sizes --preset tiny --widths 8 8 8 8 "
                                 "--steps 2 --limit 2")
    assert result["split"] == "valid"
    assert len(result["split_sha256"]) == 64
    assert [r["numbers_a_second"] for r in result["rows"][1:]] == [187.5, 375]
    assert all(r["mel_distance"] > 0.5 and r["n"] == 2 for r in result["rows"][1:])
    trained = []
    monkeypatch.setattr(sweep, "train_size", lambda *a: trained.append(a))
    assert run()["rows"] == result["rows"] and not trained
