"""Latent measures against closed forms; a cache that is never stale, never damaged."""
import json, math
from dataclasses import replace
from types import SimpleNamespace
import pytest, torch
from hypothesis import given, settings, strategies
from latentspeech.audio import vowel
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import FRAME, AutoencoderConfig, RefineConfig, preset
from latentspeech.evaluation import reconstruct
from latentspeech.experiments import downstream as sweep
from latentspeech.files import sha256
from latentspeech.latents import (
    LatentError,
    cache_latents,
    entropy,
    latent_statistics,
    numbers_a_second,
    refine_latents,
    sparsity,
    unwhiten,
    whiten,
)
from latentspeech.losses import ReconstructionLoss, envelope_distance

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


def small_search(steps=8, **more):
    return RefineConfig(steps=steps, **more)


def distance(network, z, sound, weights=RefineConfig()):
    bands, base = network.decode_bands(z), preset("base").loss
    return ReconstructionLoss(config=replace(base, envelope=weights.envelope))(
        network.pqmf.inverse(bands)[..., :sound.shape[2]], sound, bands, network.analyse(sound))[0].item()


@pytest.fixture(scope="module")
def mini():
    return Autoencoder.from_pretrained("mini")


@pytest.mark.parametrize("length", [1, 1023, 1024, 30_000])
def test_a_search_ends_nearer_than_the_guess(mini, length):
    sound = vowel("a", 4, 0.7)[None, None, 2000:2000 + length]
    guess, found = mini.encode(sound).detach(), refine_latents(mini, sound, small_search())
    assert found.shape == guess.shape and not found.requires_grad and found.isfinite().all()
    assert distance(mini, found, sound) <= distance(mini, guess, sound)
    if length == 30_000:
        assert distance(mini, found, sound) < 0.97 * distance(mini, guess, sound)


def test_what_a_search_asks_for_it_gets(mini):
    sound = vowel("a", 4, 0.5)[None, None]
    plain = RefineConfig(12, envelope=preset("base").loss.envelope)
    one, other = (envelope_distance(mini.decode(refine_latents(mini, sound, config))[..., :sound.shape[2]], sound)
                  for config in (RefineConfig(12), plain))
    assert one["envelope"] < other["envelope"]
    loss = ReconstructionLoss(config=preset("base").loss)
    assert torch.equal(refine_latents(mini, sound, plain, loss), refine_latents(mini, sound, RefineConfig(12), loss))


def test_a_search_changes_no_weight_and_leaves_no_gradient(mini):
    before = {k: v.clone() for k, v in mini.state_dict().items()}
    refine_latents(mini, vowel("i", 1, 0.2)[None, None], small_search(3))
    assert all(torch.equal(v, before[k]) for k, v in mini.state_dict().items())
    assert all(p.grad is None for p in mini.parameters())


def test_each_sound_is_searched_on_its_own(mini):
    a, b = vowel("a", 1, 0.2)[None, None], 0.3 * vowel("u", 3, 0.2)[None, None]
    both = refine_latents(mini, torch.cat([a, b]), small_search(4))
    assert torch.equal(both, torch.cat([refine_latents(mini, x, small_search(4)) for x in (a, b)]))


def test_a_long_sound_is_searched_in_pieces_as_good_as_the_whole(mini):
    sound = torch.cat([vowel(v, t, 0.5) for v, t in zip("aiu", (1, 2, 4))])[None, None]
    guess = mini.encode(sound).detach()
    whole, pieces = (refine_latents(mini, sound, small_search(chunk=chunk)) for chunk in (256, 16))
    gain = distance(mini, guess, sound) - distance(mini, whole, sound)
    assert distance(mini, guess, sound) - distance(mini, pieces, sound) > 0.7 * gain > 0


def test_a_search_works_where_gradients_are_off_and_silence_stays_silent(mini):
    sound = vowel("a", 2, 0.2)[None, None]
    expected = refine_latents(mini, sound, small_search(3))
    with torch.inference_mode():
        assert torch.equal(refine_latents(mini, sound.clone(), small_search(3)), expected)
    with torch.no_grad():
        assert torch.equal(refine_latents(mini, sound, small_search(3)), expected)
        quiet = mini.decode(refine_latents(mini, torch.zeros(1, 1, 5000), small_search(3)))
    assert quiet.abs().max() < 0.01


def test_a_network_in_training_mode_is_not_searched():
    with pytest.raises(LatentError, match="call .eval"):
        refine_latents(make().train(), torch.zeros(1, 1, 2048))


def test_what_a_search_finds_is_what_an_evaluation_copies(mini):
    sound = vowel("a", 4, 0.4)
    found = refine_latents(mini, sound[None, None], RefineConfig(2))
    with torch.no_grad():
        expected = mini.decode(found)[0, 0, :len(sound)]
    assert torch.equal(reconstruct(mini, [sound], [found])[0], expected)
    assert not torch.equal(reconstruct(mini, [sound])[0], expected)
