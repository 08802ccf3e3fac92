"""Experiment 5: its counter against torch's own, clock and memory against known work, its record against a recount."""
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from latentspeech.experiments import efficiency as module
from latentspeech.experiments.efficiency import (FOLDS, OURS, PIECES, STEPS, SYSTEMS, build, count, counted,
                                                 efficiency, exponent, fit_time, held_alone, lap, layer_macs, numbers,
                                                 predict_time, resident, sentence, speaking, tensor_peak, time_rows,
                                                 timed, training, weights, work)
from latentspeech.experiments.harness import results
from latentspeech.baselines import cost, untrained
from latentspeech.config import PRESETS
from latentspeech.corpora import make_embedded_corpus
from latentspeech.encoder import Attention
from latentspeech.table import recorded

RECORD = results("74_efficiency")
TINY = PRESETS["tiny"]
SMALL_PAPER = replace(PRESETS["paper"], encoder=replace(PRESETS["paper"].encoder, width=32, expansion=2),
                      denoiser=replace(PRESETS["paper"].denoiser, layers=3, width=16),
                      autoencoder=replace(PRESETS["paper"].autoencoder, channels=(8, 16, 24, 32)))


@pytest.mark.parametrize("layer, shape, macs", [
    (nn.Conv1d(6, 10, 5, stride=2), (3, 6, 21), 3 * 10 * 9 * 6 * 5),
    (nn.Conv1d(6, 12, 3, dilation=4, padding=4, groups=3), (1, 6, 20), 12 * 20 * 2 * 3),
    (nn.ConvTranspose1d(6, 4, 8, 4, 2), (2, 6, 10), 2 * 6 * 10 * 4 * 8),
    (nn.Linear(7, 5), (2, 11, 7), 2 * 11 * 7 * 5),
    (nn.LeakyReLU(), (1, 3, 9), 0)])
def test_a_layer_costs_what_is_written_by_hand(layer, shape, macs):
    x = torch.randn(shape)
    assert layer_macs(layer, (x,), layer(x)) == macs


def test_attention_grows_with_the_square():
    attention = Attention(8, 2)
    net = nn.ModuleDict({"attention": attention})
    def macs(n):
        with counted(net) as seen:
            attention(torch.randn(2, n, 8), torch.ones(2, n, dtype=torch.bool))
        return seen["attention"]
    def projections(n):
        return 2 * n * (8 * 24 + 8 * 8)
    assert [macs(n) - projections(n) for n in (5, 10)] == [2 * 2 * 25 * 8, 2 * 2 * 100 * 8]


@pytest.mark.parametrize("name, preset", [(OURS, TINY), ("mel diffusion", TINY), ("band diffusion", TINY),
                                          ("bands x 32", TINY), (OURS, SMALL_PAPER)],
                         ids=["latents", "mels", "bands", "bands x 32", "the paper's kind"])
def test_the_counter_agrees_with_torch(name, preset):
    voice, seconds, n_steps = build(name, preset), 6.0, 3           # longer than the decoder's pieces of 256 frames
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        speaking(voice, seconds, n_steps)()
    mine = sum(once + n_steps * step for once, step in work(voice, seconds).values()) * round(seconds * 46.875) / 46.875
    assert mine == pytest.approx(counter.get_total_flops() / 2, rel=1e-9)


def test_counting_leaves_nothing_behind():
    voice = build(OURS, TINY)
    with counted(voice) as seen:
        first = speaking(voice, 0.5, 1)()
    before = dict(seen)
    assert torch.equal(first, speaking(voice, 0.5, 1)())
    assert dict(seen) == before
    assert set(before) == {"autoencoder", "encoder", "denoiser"}


def test_numbers_a_second_are_exact():
    assert [numbers(build(name, TINY))
            for name in (*SYSTEMS[:3], *(f"bands x {n}" for n in FOLDS))] == [750, 15_000, 48_000, 48_000, 48_000,
                                                                              48_000]


def test_weights_are_those_of_lesson_17():
    for name, known in ((OURS, "latentspeech"), ("mel diffusion", "mel_diffusion"),
                        ("band diffusion", "band_diffusion")):
        assert sum(weights(build(name, TINY)).values()) == cost(untrained(known, TINY), 1)["parameters"]


@pytest.mark.parametrize("name", SYSTEMS[:3])
def test_it_speaks_as_the_voice_does(name):
    voice = build(name, replace(TINY, diffusion=replace(TINY.diffusion, n_steps=2)))
    phones, durations = sentence(1.0)
    torch.testing.assert_close(speaking(voice, 1.0, 2)()[0, 0],
                               voice.speak_phones([phones], 0, durations=[durations])[0].audio, atol=1e-5, rtol=1e-4)
    both = speaking(voice, 1.0, 2, batch=2)()
    assert both.shape == (2, 1, 47 * 1024)
    assert not torch.equal(both[0], both[1])
    assert both.std() > 1e-4   # work on something, not on zeros


def test_a_step_of_training_learns():
    corpus = make_embedded_corpus(config=TINY.corpus, progress=False)
    for name in SYSTEMS[:3]:
        voice = build(name, TINY)
        before = [p.clone() for p in voice.denoiser.parameters()]
        step, seconds = training(voice, corpus, 2)
        assert seconds == sum(u.seconds for u in corpus.split("train")[:2])
        step()
        # gradients, not zeros, all the way
        assert sum(not torch.equal(a, b) for a, b in zip(before, voice.denoiser.parameters())) > len(before) / 2


def test_times_are_taken_in_turn_and_compared_in_the_same_round(monkeypatch, tmp_path):
    order, clock, args = [], iter([1.0, 2.0, 10.0, 30.0, 1.0, 4.0]), SimpleNamespace(device="cpu", clock="wall",
                                                                                     repeats=3, folder=tmp_path)
    monkeypatch.setattr(module, "seconds_of", lambda run, device: (run(), next(clock))[1])
    jobs = {(OURS, 4, 1): lambda: order.append("a"), ("mel diffusion", 4, 1): lambda: order.append("b")}
    times = timed("some", jobs, args)
    assert "".join(order) == "aabbabab" and times[OURS, 4, 1] == [1.0, 10.0, 1.0]   # each once more, to warm up
    row = time_rows("speaking", times)[1]
    assert (row["ratio"], row["ratio_low"], row["ratio_high"], row["value"], row["n"]) == (3.0, 2.0, 4.0, 4.0, 3)
    assert timed("some", jobs, args) == times and len(order) == 8                   # kept: nothing ran again


def test_the_processors_clock_does_not_count_waiting():
    assert lap(lambda: time.sleep(0.2), clock="processor") < 0.1 < lap(lambda: time.sleep(0.2))


def test_fits_find_what_was_planted():
    assert exponent([1, 2, 4, 8], [3 * s ** 1.5 for s in (1, 2, 4, 8)]) == pytest.approx(1.5)
    def truth(s, k):
        return 0.02 + 0.01 * s + k * (0.003 + 0.005 * s)
    fitted = fit_time([dict(seconds=s, n_steps=k, value=truth(s, k)) for s in (1, 5, 20) for k in (1, 4, 50)])
    assert predict_time(fitted, 30, 16) == pytest.approx(truth(30, 16))


def test_memory_is_counted_to_the_byte():
    def hold():
        first = torch.ones(1000)
        second = torch.ones(2000)
        del first
        return second + torch.ones(500).sum()
    assert 16_000 <= tensor_peak(hold) <= 16_000 + 2048
    assert tensor_peak(lambda: torch.ones(10 ** 6)) == pytest.approx(4e6, rel=1e-3)
    assert 0 < resident() <= resident(peak=True)


def test_memory_is_measured_in_the_main_thread_alone():
    with ThreadPoolExecutor(1) as widget, pytest.raises(RuntimeError, match="in a cell"):
        widget.submit(tensor_peak, lambda: torch.ones(10)).result()


@pytest.mark.skipif(not RECORD.exists(), reason="no record yet: latentspeech experiment efficiency makes it")
def test_the_record_is_whole_and_its_counts_can_be_repeated():
    record = recorded(RECORD)
    assert len(record["split_sha256"]) == 64
    assert set(record["weights_sha256"]) == set(SYSTEMS)
    assert record["command"].startswith("latentspeech experiment efficiency")
    rows = {(r["what"], r["system"], r.get("seconds"), r.get("n_steps")): r for r in record["rows"]}
    for name in SYSTEMS:
        assert all(any(r["system"] == name and r["what"].startswith(what) for r in record["rows"])
                   for what in ("speaking, by length", "training", "memory, speak", "memory, train", "tensors"))
        assert {r["n_steps"] for r in record["rows"] if (r["what"], r["system"]) == ("speaking", name)} == set(STEPS)
    for r in record["rows"]:
        if r["what"].startswith(("speaking", "training")):
            assert r["n"] >= 5
            assert r["value_low"] <= r["value"] <= r["value_high"]
            assert r["ratio_low"] <= r["ratio"] <= r["ratio_high"]
    for name in SYSTEMS[:3]:
        for again in count(name, build(name)):
            kept = rows[again["what"], name, again.get("seconds"), again.get("n_steps")]
            assert all(kept[k] == (v if isinstance(v, str) else pytest.approx(v, rel=1e-12)) for k, v in again.items())


@pytest.fixture
def small(monkeypatch):
    "Run the experiment at the smallest scale."
    for name, value in dict(STEPS=(1, 2), LENGTHS=(0.5, 1, 2), TEN=1.0, FOLDS=(), SYSTEMS=SYSTEMS[:2]).items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "held_alone", lambda name, piece, options: dict(whole=3e8, added=1e8))
    threads = torch.get_num_threads()
    yield lambda **options: efficiency(**dict(preset="tiny", threads=1, seconds=0.5, repeats=1) | options)
    torch.set_num_threads(threads)


def test_the_command_makes_a_record_in_pieces(small, tmp_path):
    parts, table = tmp_path / "parts", tmp_path / "table.json"
    left = small(folder=str(parts), only=("steps", "lengths"))
    assert left == dict(still_to_be_measured=["counts", "folds", "training", "memory", "tensors"])
    first = (parts / "steps.json").read_bytes()
    with pytest.raises(ValueError, match="other options"):
        small(folder=str(parts), seconds=0.4)
    assert small(folder=str(parts), out=str(table)) == dict(record=str(table))
    assert set(PIECES) == {p.stem for p in parts.glob("*.json")} - {"options"}
    assert first == (parts / "steps.json").read_bytes()
    rows = recorded(table)["rows"]
    assert {r["what"] for r in rows} >= {"weights", "numbers", "multiply-accumulates", "speaking", "training",
                                         "memory, speak", "memory, train", "tensors alive"}
    assert all(r["ratio"] == 1 for r in rows if r["system"] == OURS and "ratio" in r)


def test_memory_is_that_of_a_process_of_its_own():
    options = SimpleNamespace(device="cpu", threads=1, preset="tiny", batch=1, train_batch=2, corpus="tiny")
    found = held_alone("mel diffusion", "speak", options)
    assert found["whole"] > found["added"] > 10 * 15_000 * 4     # at least what it says
    with pytest.raises(RuntimeError, match="no such"):
        held_alone("no such", "speak", options)
