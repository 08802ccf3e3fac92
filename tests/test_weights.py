"""Weights on a disk: what is damaged, missing or ambiguous is found out, and a failed save leaves the old."""
import json, os
import pytest, torch
from safetensors.torch import load
from torch import nn
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import DenoiserConfig, preset
from latentspeech.weights import (PretrainedError, find_weights, load_weights, save_tensors, save_weights,
                                  store_average, weights_hash)


def make(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def damage(path, how):
    data, card = bytearray(path.read_bytes()), path.with_suffix(".json")
    if how == "bit":
        data[-5] ^= 1
    if how == "short":
        data = data[:len(data) // 2]
    if how == "empty":
        data = b""
    if how == "page":
        data = b"<html>404</html>"
    path.write_bytes(bytes(data))
    if how == "no card":
        card.unlink()
    if how == "card is a page":
        card.write_text("<html>")
    if how == "card without hash":
        card.write_text(json.dumps({"config": None}))
    if how == "card is a list":
        card.write_text("[]")


@pytest.mark.parametrize("how", ["bit", "short", "empty", "page", "no card", "card is a page", "card without hash",
                                 "card is a list"])
def test_damage_is_found(tmp_path, how):
    path = save_weights(tmp_path / "linear", make())
    assert load_weights(tmp_path, "linear")
    damage(path, how)
    with pytest.raises(PretrainedError) as error:
        load_weights(tmp_path, "linear")
    assert "\n" not in str(error.value)


def test_a_damaged_autoencoder_is_refused(tmp_path):
    torch.manual_seed(0)
    damage(Autoencoder(preset("tiny").autoencoder).save_pretrained(tmp_path), "bit")
    with pytest.raises(PretrainedError, match="SHA-256"):
        Autoencoder.from_pretrained(tmp_path)


def test_parameters_are_halved_and_statistics_kept(tmp_path):
    model = make()
    model[1].running_mean += 1e-5
    stored = load(save_weights(tmp_path / "m", model, DenoiserConfig(), {"licence": "none"}).read_bytes())
    assert stored["0.weight"].dtype == torch.float16 and stored["1.running_mean"].dtype == torch.float32
    state, card = load_weights(tmp_path, "m")
    assert all(v.dtype in (torch.float32, torch.int64) for v in state.values())
    assert torch.equal(state["1.running_mean"], model[1].running_mean)
    assert card["licence"] == "none" and card["config"]["width"] == DenoiserConfig().width
    save_weights(tmp_path / "exact", model, half=False)
    again = make(seed=1)
    again.load_state_dict(load_weights(tmp_path / "exact.safetensors", "any")[0])
    assert weights_hash(again) == weights_hash(model) != weights_hash(make(seed=1))


def test_missing_weights_say_how_to_make_them():
    with pytest.raises(PretrainedError, match="make weights PRESET=nothing"):
        load_weights("nothing", "autoencoder")


def test_two_sets_in_a_folder_are_named(tmp_path):
    for name in "ab":
        save_tensors(tmp_path / f"{name}-judge", {"x": torch.ones(1)}, {})
    with pytest.raises(PretrainedError, match="2 sets"):
        find_weights(tmp_path, "judge")
    assert find_weights(tmp_path / "a-judge.safetensors", "judge").exists()


def test_hub_without_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(PretrainedError, match="hub"):
        load_weights("user/model", "autoencoder")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_save_leaves_the_old_and_no_litter(tmp_path, monkeypatch, call):
    path = save_weights(tmp_path / "m", make())
    old = path.read_bytes(), path.with_suffix(".json").read_bytes()
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError):
        save_weights(tmp_path / "m", make(seed=2))
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == old
    assert sorted(os.listdir(tmp_path)) == ["m.json", "m.safetensors"]


@pytest.mark.parametrize("shares", [None, [0.25, 0.75]])
def test_the_mean_of_two_networks(tmp_path, shares):
    """Shares count, parameters stay in 16 bits, statistics and counters in theirs; the card names both."""
    networks = [make(seed) for seed in (0, 1)]
    networks[1][1].num_batches_tracked += 7
    paths = [save_weights(tmp_path / f"part{k}", network, card={"k": k}) for k, network in enumerate(networks)]
    path = store_average(tmp_path / "mean" / "linear", "linear", paths, shares)
    state, card = load_weights(path, "linear")
    a, b = shares or (0.5, 0.5)
    for name, value in networks[0].state_dict().items():
        other = networks[1].state_dict()[name]
        wanted = a * value + b * other if value.is_floating_point() else other
        torch.testing.assert_close(state[name], wanted, atol=1e-3, rtol=1e-3)
    assert {k: v.dtype for k, v in load(path.read_bytes()).items()} == {
        k: v.dtype for k, v in load(paths[1].read_bytes()).items()}
    hashes = [load_weights(p, "linear")[1]["sha256"] for p in paths]
    assert card["k"] == 1 and card["averaged"] == [dict(sha256=h, share=s) for h, s in zip(hashes, (a, b))]


def test_what_all_share_keeps_every_bit_in_a_mean(tmp_path):
    """Thirds of a number rarely add up to it, halves of a negative zero are none; a voice knows latents by a hash."""
    networks = [make(seed) for seed in range(3)]
    still = torch.cat([torch.randn(99, generator=torch.Generator().manual_seed(0)), torch.tensor([-0.0])])
    for network in networks:
        network.register_buffer("still", still)
    paths = [save_weights(tmp_path / f"part{k}", network) for k, network in enumerate(networks)]
    state, _ = load_weights(store_average(tmp_path / "mean", "linear", paths), "linear")
    assert state["still"].numpy().tobytes() == still.numpy().tobytes()
    assert not any(torch.equal(state["0.weight"], load_weights(p, "linear")[0]["0.weight"]) for p in paths)


def test_strangers_have_no_mean(tmp_path):
    paths = [save_weights(tmp_path / f"n{k}", nn.Linear(3, k)) for k in (2, 3)]
    with pytest.raises(PretrainedError, match="have no mean"):
        store_average(tmp_path / "mean" / "linear", "linear", paths)
    assert not (tmp_path / "mean").exists()


def test_a_mean_speaks(tmp_path):
    """Of an autoencoder with itself: the same sound, from a name and a folder."""
    store_average(tmp_path / "mean-autoencoder", "autoencoder", ["mini", "mini"])
    one, mean = Autoencoder.from_pretrained("mini"), Autoencoder.from_pretrained(tmp_path)
    audio = 0.1 * torch.randn(1, 1, 9000)
    with torch.inference_mode():
        torch.testing.assert_close(mean(audio), one(audio), atol=1e-5, rtol=1e-4)
