"""What the autoencoder's lesson cannot show: alignment, chunks, odd input, damaged weights."""
import json, os, subprocess, sys
from dataclasses import replace
from pathlib import Path
import pytest, torch
from torch.nn.utils import parametrize
from latentspeech.weights import PretrainedError, save_weights, weights_hash
from latentspeech import __file__ as module_file
from latentspeech.audio import level, vowel
from latentspeech.autoencoder import NOISE_FRAMES, Autoencoder, AutoencoderError, NoiseInjection, paper_encoder
from latentspeech.config import FRAME, AutoencoderConfig, preset

TINY = preset("tiny").autoencoder
HISSING = replace(TINY, noise_stages=2)


def make(config=TINY, seed=0):
    torch.manual_seed(seed)
    return Autoencoder(config).eval()


def noise(*shape, seed=1):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["base", "paper"])
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 1023, 1024, 1025, 5000])
@torch.inference_mode()
def test_any_length(kind, length):
    autoencoder = make(AutoencoderConfig(kind=kind, channels=(16, 24, 32, 48), residual_units=1 if kind == "base"
                                         else 0))
    latents = autoencoder.encode(noise(2, 1, length))
    assert latents.shape == (2, 16, -(-length // FRAME))
    assert autoencoder.decode(latents).shape == (2, 1, FRAME * latents.shape[2])
    assert autoencoder(noise(2, 1, length)).shape == (2, 1, length)


@pytest.mark.parametrize("sound", ["silence", "click", "noise", "full scale", "offset"])
@torch.inference_mode()
def test_finite_and_peak_safe(sound):
    audio = torch.zeros(1, 1, 6000)
    if sound == "click":
        audio[..., 3000] = 1
    if sound == "noise":
        audio = torch.randn(1, 1, 6000).clamp(-1, 1)
    if sound == "full scale":
        audio = torch.sign(torch.sin(torch.arange(6000) * 0.05))[None, None]
    if sound == "offset":
        audio += 1
    autoencoder = make()
    latents = autoencoder.encode(audio)
    decoded = autoencoder.decode(100 * latents)
    assert latents.isfinite().all() and decoded.isfinite().all() and decoded.abs().max() <= 1


@pytest.mark.parametrize("shape", [(1, 2, 4000), (4000,), (1, 4000), (1, 1, 0)])
def test_refuses_other_shapes(shape):
    with pytest.raises(AutoencoderError):
        make().encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 15, 4), (16, 4), (1, 16, 0)])
def test_refuses_other_latents(shape):
    with pytest.raises(AutoencoderError):
        make().decode(torch.zeros(shape))


@pytest.mark.parametrize("config", [TINY, HISSING, AutoencoderConfig(channels=(8, 8, 8, 8), residual_units=2),
                                    AutoencoderConfig(channels=(8, 8, 8, 8), residual_units=3),
                                    AutoencoderConfig(kind="paper", channels=(8, 8, 8, 8), residual_units=0),
                                    AutoencoderConfig(channels=(8, 8, 8), strides=(8, 4), residual_units=2),
                                    AutoencoderConfig(channels=(8, 8), strides=(4,)),
                                    AutoencoderConfig(channels=(8, 8, 8, 8), strides=(4, 4, 2), latent_channels=4),
                                    AutoencoderConfig(channels=(8, 8, 8, 8), strides=(8, 4, 4), latent_channels=32),
                                    AutoencoderConfig(kind="paper", channels=(8, 8, 8, 8), strides=(2, 4, 8),
                                                      residual_units=0),
                                    AutoencoderConfig(channels=(8, 8, 8, 8, 8), strides=(2, 4, 4, 2), n_bands=8)])
@torch.inference_mode()
def test_chunks_equal_the_whole(config):
    autoencoder = make(config)
    audio = noise(1, 1, autoencoder.hop * 70 + 333)
    whole = autoencoder.encode(audio, chunk=10_000)
    assert whole.shape == (1, config.latent_channels, -(-audio.shape[2] // autoencoder.hop))
    torch.testing.assert_close(autoencoder.encode(audio, chunk=16), whole, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(autoencoder.decode(whole, chunk=16), autoencoder.decode(whole, chunk=10_000),
                               atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def test_memory_does_not_grow_with_length():
    autoencoder, lengths = make(), []
    inner = autoencoder.encoder.forward
    autoencoder.encoder.forward = lambda bands: lengths.append(bands.shape[2]) or inner(bands)
    autoencoder.encode(torch.zeros(1, 1, FRAME * 3000), chunk=1024)
    assert len(lengths) == 3 and max(lengths) <= 64 * (1024 + 2 * autoencoder.context)


TEN_MINUTES = """
import resource, torch
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import preset
torch.set_num_threads(1)
torch.manual_seed(0)
model, audio = Autoencoder(preset("tiny").autoencoder).fuse().eval(), torch.rand(1, 1, 600 * 48_000) - 0.5
with torch.inference_mode():
    model(audio[..., :480_000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    latents = model.encode(audio)
    decoded = model.decode(latents)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(latents.shape[2], decoded.shape[2], decoded.isfinite().all().item(), grown)
"""
def test_ten_minutes_in_bounded_memory():
    "Peak memory grows by the sound that comes back, once in pieces and once joined (2 x 115 MB), and hardly by more."
    pytest.importorskip("resource")
    ran = subprocess.run([sys.executable, "-c", TEN_MINUTES], capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    assert ran.returncode == 0, ran.stderr[-800:]
    frames, samples, finite, megabytes = ran.stdout.split()
    assert (frames, samples, finite) == ("28125", "28800000", "True") and float(megabytes) < 400


@torch.inference_mode()
def test_forward_equals_there_and_back():
    autoencoder, audio = make(), noise(2, 1, FRAME * 300 + 5)
    torch.testing.assert_close(autoencoder(audio), autoencoder.decode(autoencoder.encode(audio))[..., :audio.shape[2]])
    torch.testing.assert_close(autoencoder(audio), autoencoder.reconstruct(audio)[0].clamp(-1, 1), atol=2e-5, rtol=1e-4)


def shipped(name="mini"):
    return Autoencoder.from_pretrained(name)


@pytest.mark.parametrize("name", ["mini", "base"])
@torch.inference_mode()
def test_shipped_weights_neither_click_nor_hum(name):
    "Silence comes back silent; speech that starts and ends abruptly comes back without louder edges or an offset."
    autoencoder, silence = shipped(name), torch.zeros(1, 1, 30_000)
    quiet = autoencoder(silence)[0, 0]
    assert max(level(quiet), level(quiet[:1024]), level(quiet[-1024:])) < -60 and quiet.mean().abs() < 1e-4
    # cut in the middle of a swing at both ends
    voice = torch.cat([vowel("a", 4, 0.6), vowel("i", 2, 0.6)])[9000:-9000]
    back = autoencoder(voice[None, None])[0, 0]
    for edge in (slice(0, 480), slice(-480, None)):
        assert level(back[edge]) < max(level(voice[edge]), level(voice)) + 3
    assert (back.mean() - voice.mean()).abs() < 2e-3


@pytest.mark.parametrize("name", ["mini", "base"])
@torch.inference_mode()
def test_shipped_weights_know_where_a_sound_is(name):
    autoencoder = shipped(name)
    voice = vowel("a", 3, 0.5)
    back = autoencoder(voice[None, None])[0, 0]
    score = [(voice[2000:-2000] * back[2000 + lag:len(back) - 2000 + lag]).sum().item() for lag in range(-200, 201)]
    assert abs(score.index(max(score)) - 200) <= 2


@torch.inference_mode()
def test_looks_equally_far_both_ways():
    "A click moves the latents around its own frame, as far to the left as to the right: no hidden delay."
    autoencoder = make(AutoencoderConfig(channels=(8, 8, 8, 8), residual_units=2))
    silence = torch.zeros(1, 1, FRAME * 41)
    click = silence.clone()
    click[..., FRAME * 20 + FRAME // 2] = 1
    moved = (autoencoder.encode(click) - autoencoder.encode(silence)).abs().amax((0, 1)).nonzero().flatten()
    assert moved.min() + moved.max() == 40 and moved.max() - 20 <= autoencoder.context
    latents = torch.zeros(1, 16, 41)
    poke = latents.clone()
    poke[..., 20] = 1
    moved = (autoencoder.decode(poke) - autoencoder.decode(latents)).abs().amax((0, 1)).nonzero().flatten()
    assert abs(moved.min() + moved.max() - (FRAME * 41 - 1)) <= FRAME // 4
    assert moved.max() < FRAME * (21 + autoencoder.context)


def test_learns_without_a_delay():
    "After a few steps the best lag between sound and reconstruction is 0 samples."
    autoencoder = make(AutoencoderConfig(channels=(16, 24, 32, 48), residual_units=0)).train()
    t = torch.arange(8192) / 48_000
    audio = torch.stack([0.3 * torch.sin(2 * torch.pi * f * t + f) for f in (150, 190, 240, 310)])[:, None]
    optimiser = torch.optim.Adam(autoencoder.parameters(), 5e-3)
    for _ in range(120):
        reconstruction, bands, true_bands, _ = autoencoder.reconstruct(audio)
        (bands - true_bands).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.inference_mode():
        decoded = autoencoder.eval()(audio)
    a, b = audio[..., 2048:-2048].flatten(0, 1), decoded.flatten(0, 1)
    scores = [(a * b[:, 2048 + lag:6144 + lag]).sum().item() for lag in range(-100, 101)]
    assert abs(scores.index(max(scores)) - 100) <= 2, scores.index(max(scores)) - 100


def test_parameter_counts():
    def count(net):
        return sum(p.numel() for p in net.parameters())
    base, paper = Autoencoder(preset("base").autoencoder).fuse(), Autoencoder(preset("paper").autoencoder)
    assert count(base.decoder) <= 5_000_000 and paper.n_parameters == pytest.approx(2.96e6, rel=0.01)
    assert 2e6 <= Autoencoder(preset("mini").autoencoder).n_parameters <= 3.2e6
    assert count(paper_encoder(preset("paper").autoencoder)) == count(paper.encoder)


def test_training_follows_the_statistics():
    autoencoder = make().train()
    for seed in range(30):
        _, _, _, latents = autoencoder.reconstruct(noise(4, 1, 8192, seed=seed))
    assert latents.mean().abs() < 0.3 and (latents.std() - 1).abs() < 0.3
    norm = autoencoder.encoder[-1]
    assert norm.n_batches == 30 and not norm.std.requires_grad and autoencoder.latent_std.eq(1).all()


@torch.inference_mode()
def test_fitting_statistics_whitens_and_keeps_the_sound():
    autoencoder = make()
    audio = noise(1, 1, FRAME * 60)
    before = autoencoder(audio)
    autoencoder.fit_statistics([autoencoder.encode(audio), autoencoder.encode(audio)[0]])
    latents = autoencoder.encode(audio)
    torch.testing.assert_close(latents.mean(2), torch.zeros(1, 16), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(2, unbiased=False), torch.ones(1, 16), atol=1e-3, rtol=0)
    torch.testing.assert_close(autoencoder(audio), before, atol=1e-5, rtol=1e-4)


def test_latent_noise_only_in_training():
    autoencoder = make(AutoencoderConfig(channels=(8, 8, 8, 8), residual_units=0, latent_noise=0.5))
    audio = noise(1, 1, 4096)
    assert torch.equal(autoencoder(audio), autoencoder(audio))
    assert not torch.equal(autoencoder.train()(audio), autoencoder(audio))


@torch.inference_mode()
def test_fuse_and_unfuse_keep_the_sound():
    autoencoder = make()
    audio = noise(1, 1, 4096)
    before = autoencoder(audio)
    n, names = autoencoder.n_parameters, set(autoencoder.requires_grad_(False).fuse().state_dict())
    assert autoencoder.n_parameters == n == sum(p.numel() for p in autoencoder.parameters())
    assert "decoder.0.weight" in names
    torch.testing.assert_close(autoencoder(audio), before, atol=1e-6, rtol=1e-5)
    assert not any(parametrize.is_parametrized(m) for m in autoencoder.modules())
    torch.testing.assert_close(autoencoder.unfuse()(audio), before, atol=1e-6, rtol=1e-5)
    assert any(parametrize.is_parametrized(m) for m in autoencoder.modules())


@pytest.mark.parametrize("kind", ["base", "paper"])
@torch.inference_mode()
def test_weights_return_as_they_were(tmp_path, kind):
    autoencoder = make(AutoencoderConfig(kind=kind, channels=(8, 16, 16, 24), residual_units=1 if kind == "base"
                                         else 0))
    path = autoencoder.save_pretrained(tmp_path, "mine", {"licence": "none"})
    assert path.name == "mine-autoencoder.safetensors"
    again, audio = Autoencoder.from_pretrained(tmp_path), noise(1, 1, 4096)
    assert again.card["licence"] == "none" and again.config == autoencoder.config and not again.training
    torch.testing.assert_close(again(audio), autoencoder(audio), atol=2e-3, rtol=0)   # float16 on disk
    save_weights(tmp_path / "exact" / "autoencoder", again, again.config, half=False)
    exact = Autoencoder.from_pretrained(tmp_path / "exact")
    assert torch.equal(exact(audio), again(audio)) and weights_hash(exact) == weights_hash(again)
    assert all(torch.equal(a, b) for a, b in zip(exact.pqmf.state_dict().values(),
                                                 autoencoder.pqmf.state_dict().values()))


def test_other_config_is_refused(tmp_path):
    path = make().save_pretrained(tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    card["config"]["channels"] = [8, 8, 8, 8]
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(PretrainedError):
        Autoencoder.from_pretrained(tmp_path)


def test_gradients_reach_every_weight():
    autoencoder = make().train()
    reconstruction, bands, true_bands, _ = autoencoder.reconstruct(noise(2, 1, 4096))
    (reconstruction.square().mean() + (bands - true_bands).abs().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in autoencoder.parameters())


def test_a_hash_is_the_same_however_the_weights_came():
    "A voice names its encoder: building, folding and loading must list the same weights in the same order."
    autoencoder = make().fuse()
    twin = Autoencoder(TINY, fused=True)
    twin.load_state_dict(autoencoder.state_dict())
    assert list(twin.state_dict()) == list(autoencoder.state_dict()) and weights_hash(twin) == weights_hash(autoencoder)
    assert list(autoencoder.unfuse().fuse().state_dict()) == list(twin.state_dict())


def test_the_shipped_voice_knows_its_autoencoder():
    card = Path(module_file).parent / "pretrained" / "mini-voice.json"
    if not card.exists():
        pytest.skip("no voice ships")
    assert weights_hash(shipped().encoder) == json.loads(card.read_text())["latent_hash"]


@torch.inference_mode()
def test_a_grown_network_says_what_the_small_one_said():
    "Every new channel is silent at first, with weight norm or without; then training moves the new weights too."
    small, audio = make(), noise(2, 1, 5000)
    wide = AutoencoderConfig(channels=(20, 24, 40, 64), residual_units=1)
    with torch.inference_mode(False):
        grown = small.grow(wide)
    torch.testing.assert_close(grown(audio), small(audio), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(grown.unfuse()(audio), small(audio), atol=1e-5, rtol=1e-3)
    with torch.inference_mode(False):
        grown.train().reconstruct(audio.clone())[0].square().mean().backward()
        # old channels begin to listen to new ones
        new = grown.decoder[1].layers[1].parametrizations.weight.original1.grad[:48, 48:]
    assert new.abs().sum() > 0


@pytest.mark.parametrize("config", [AutoencoderConfig(channels=(16, 24, 32, 40), residual_units=1),
                                    AutoencoderConfig(channels=(16, 24, 32, 48), residual_units=2),
                                    AutoencoderConfig(channels=(16, 24, 32, 48), residual_units=1, latent_channels=8)])
def test_a_network_without_room_is_refused(config):
    with pytest.raises(AutoencoderError, match="no room"):
        make().grow(config)


def loud(autoencoder, size=30.0):
    "Turn the noise of an untrained decoder up until it can't be overlooked."
    with torch.no_grad():
        for layer in autoencoder.decoder:
            if isinstance(layer, NoiseInjection):
                layer.gate.weight.mul_(size)
    return autoencoder


@torch.inference_mode()
def test_steady_latents_repeat_themselves_without_noise_and_never_with_it():
    steady = noise(1, 16, 1).expand(-1, -1, 40)
    for config, repeats in ((TINY, True), (HISSING, False)):
        bands = loud(make(config).fuse()).decode_bands(steady)[..., 640:1920]
        far = (bands[..., :-64] - bands[..., 64:]).abs().max() / bands.abs().max()
        assert (far < 1e-3) == repeats, far


@torch.inference_mode()
def test_a_piece_hisses_as_the_whole_does():
    autoencoder, latents = loud(make(HISSING).fuse()), noise(2, 16, 3 * NOISE_FRAMES)
    whole, edge = autoencoder.decode(latents, chunk=10_000), autoencoder.context
    for a, b in ((100, 150), (NOISE_FRAMES, NOISE_FRAMES + 40), (300, 381)):
        left = a - edge
        piece = autoencoder.decode(latents[..., left:b + edge], start=left)[..., edge * FRAME:(b - left) * FRAME]
        torch.testing.assert_close(piece, whole[..., a * FRAME:b * FRAME], atol=2e-5, rtol=1e-4)
    elsewhere = autoencoder.decode(latents[..., 100 - edge:150 + edge])[..., edge * FRAME:(50 + edge) * FRAME]
    assert (elsewhere - whole[..., 100 * FRAME:150 * FRAME]).abs().max() > 1e-3
    assert torch.equal(autoencoder.decode(latents), autoencoder.decode(latents))


def test_in_training_each_draw_has_noise_of_its_own():
    autoencoder, audio = loud(make(HISSING).train()), noise(2, 1, 8 * FRAME)
    sound, bands, true_bands, latents = autoencoder.reconstruct(audio, 3)
    assert sound.shape == (6, 1, 8 * FRAME) and bands.shape[0] == 6 and true_bands.shape[0] == latents.shape[0] == 2
    assert not sound[:2].allclose(sound[2:4], atol=1e-4) and not sound[2:4].allclose(sound[4:], atol=1e-4)


@pytest.mark.parametrize("frames", (8, NOISE_FRAMES, NOISE_FRAMES + 1))
@torch.inference_mode()
def test_in_use_draws_differ_and_are_the_same_each_time(frames):
    "Sounds as long as the table of noise as well; the first draw is the one that is always heard."
    autoencoder, audio = loud(make(HISSING)), noise(2, 1, frames * FRAME - 5)
    sound, bands, true_bands, latents = autoencoder.reconstruct(audio, 3)
    assert sound.shape == (6, 1, frames * FRAME - 5) and bands.shape[0] == 6 and len(true_bands) == len(latents) == 2
    for a, b in ((0, 2), (2, 4), (0, 4)):
        assert not sound[a:a + 2].allclose(sound[b:b + 2], atol=1e-4)
    assert torch.equal(sound, autoencoder.reconstruct(audio, 3)[0])
    torch.testing.assert_close(sound[:2], autoencoder.reconstruct(audio)[0], atol=1e-6, rtol=1e-5)
    one, other = make(TINY).reconstruct(audio, 2)[0].chunk(2)   # without noise there is one answer
    assert torch.equal(one, other)


@torch.inference_mode()
def test_noise_is_added_to_what_a_network_knows_and_never_taken_away(tmp_path):
    "Also: it is no weight, so it costs no byte, and a file brings the same sound back."
    plain, audio = make(), noise(1, 1, 9 * FRAME)
    with torch.inference_mode(False):
        hissing = plain.grow(HISSING)
        wider = hissing.grow(replace(preset("mini").autoencoder, residual_units=1, noise_stages=3))
    assert weights_hash(hissing.encoder) == weights_hash(plain.fuse().encoder)
    far = hissing(audio) - plain(audio)
    assert 0 < far.norm() < 0.1 * plain(audio).norm()   # a faint hiss is all that is new
    gates = [[m.gate.weight for m in network.decoder if isinstance(m, NoiseInjection)] for network in (hissing, wider)]
    assert [len(g) for g in gates] == [2, 3]
    for mine, its in zip(gates[0], gates[1][1:]):
        assert torch.equal(its[:len(mine), :len(mine)], mine)
    with pytest.raises(AutoencoderError, match="would be lost"):
        hissing.grow(TINY)
    path = hissing.save_pretrained(tmp_path)
    again = Autoencoder.from_pretrained(tmp_path)
    assert again.config == HISSING
    torch.testing.assert_close(again(audio), hissing(audio), atol=1e-3, rtol=0.01)   # files hold 16 bits
    with open(path, "rb") as file:
        assert b"noise" not in file.read(int.from_bytes(file.read(8), "little"))


@pytest.mark.parametrize("kind, stages", [("base", 4), ("base", -1), ("paper", 1)])
def test_noise_for_stages_that_there_are_not(kind, stages):
    with pytest.raises(AutoencoderError, match="stages"):
        Autoencoder(AutoencoderConfig(kind=kind, noise_stages=stages))
