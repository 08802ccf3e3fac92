"The aligner against brute force, PyTorch's CTC, torchaudio's forced_align, known timings and marks by hand."
import itertools, json, random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings as hypothesis_settings, strategies as st

from latentspeech.aligner import (Aligner, AlignerError, Alignment, FrameTask, RecogniserTask, align_corpus,
                                  boundary_errors, browse_alignments, class_ids, ctc_states, forward_score,
                                  measure_aligner, mel_features, phone_starts, show_alignment, syllable_starts,
                                  train_aligner, viterbi)
from latentspeech.config import AlignerConfig
from latentspeech import aligner as lesson
from latentspeech.corpora import Corpus, Utterance
from latentspeech.audio import load_torchaudio, save
from latentspeech.layouts import open_corpus
from latentspeech.text import PAUSES, SYMBOLS
from latentspeech.training import fit

pytestmark = pytest.mark.filterwarnings("ignore:CTC stopped")
REAL, HAND = Path(__file__).parents[2] / "shared/data/audio-cmn", Path(__file__).parent / "data/hand_starts.tsv"


def every_path(n_frames, n_states, optional):
    "All ways through the states, by definition."
    for path in itertools.product(range(n_states), repeat=n_frames):
        steps = zip(path, path[1:])
        allowed = all(b == a or b == a + 1 or (b == a + 2 and optional[a + 1]) for a, b in steps)
        begins = path[0] == 0 or (path[0] == 1 and optional[0])
        ends = path[-1] == n_states - 1 or (path[-1] == n_states - 2 and optional[-1])
        if allowed and begins and ends:
            yield np.array(path)


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.integers(0, 10 ** 6), st.integers(3, 6), st.integers(2, 4), st.integers(-1, 3))
def test_viterbi_and_forward_equal_brute_force(seed, n_frames, n_states, which):
    scores, optional = np.random.default_rng(seed).normal(size=(n_frames, n_states)), np.zeros(n_states, bool)
    if 0 <= which < n_states:
        optional[which] = True
    if n_frames < n_states:
        return
    totals = [scores[np.arange(n_frames), p].sum() for p in every_path(n_frames, n_states, optional)]
    path = viterbi(scores, optional)
    assert any((path == p).all() for p in every_path(n_frames, n_states, optional))
    assert abs(scores[np.arange(n_frames), path].sum() - max(totals)) < 1e-9
    assert abs(forward_score(scores, optional) - np.logaddexp.reduce(totals)) < 1e-9


@pytest.mark.parametrize("labels", [[1], [1, 1], [3, 1, 4, 1, 5], [2, 2, 2], [5, 5, 1, 1]])
def test_forward_is_ctc(labels):
    logits = torch.randn(15, 6, dtype=torch.float64,
                         generator=torch.Generator().manual_seed(sum(labels))).log_softmax(1)
    states, optional = ctc_states(labels)
    theirs = F.ctc_loss(logits[:, None], torch.tensor([labels]), [15], [len(labels)], reduction="sum")
    assert abs(-forward_score(logits[:, states].numpy(), optional) - theirs.item()) < 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_path_equals_torchaudio_forced_align(seed):
    functional, rng = load_torchaudio().functional, np.random.default_rng(seed)
    labels = rng.integers(1, 9, rng.integers(1, 9)).tolist()
    logits = torch.tensor(rng.normal(size=(rng.integers(20, 100), 9)), dtype=torch.float32).log_softmax(1)
    try:
        theirs, _ = functional.forced_align(logits[None], torch.tensor([labels], dtype=torch.int32), blank=0)
    except (RuntimeError, AttributeError, OSError) as error:
        pytest.skip(f"this torchaudio has no forced_align: {type(error).__name__}")
    states, optional = ctc_states(labels)
    assert (states[viterbi(logits[:, states].double().numpy(), optional)] == theirs[0].numpy()).all()


def settings(minutes=20., ctc_steps=2000, rounds=5, round_steps=60, batch=12, width=96):
    "The aligner's configuration with fewer steps, smaller batches, narrower networks."
    c = AlignerConfig()
    return replace(c, minutes=minutes, rounds=rounds, width=width,
                   recogniser=replace(c.recogniser, steps=ctc_steps, batch=batch),
                   classifier=replace(c.classifier, steps=round_steps, batch=4 * batch))


def test_the_recognisers_loss_is_the_mean_over_a_padded_batch():
    torch.manual_seed(0)
    aligner = Aligner(settings(width=16)).eval()
    mels, labels = [torch.randn(40, 80), torch.randn(40, 120)], [np.array([1, 2, 3]), np.array([4, 5])]
    def loss(mels, labels):
        task = RecogniserTask(aligner.recogniser, mels, labels)
        return task(task.batch(torch.Generator().manual_seed(0), len(mels)))[0].item()
    single = [loss([m], [l]) for m, l in zip(mels, labels)]
    assert abs(loss(mels, labels) - np.mean(single)) < .25   # only the edge of the shorter one differs


def test_crops_of_frames_keep_their_labels():
    torch.manual_seed(0)
    mels, paths = [torch.arange(n).float().expand(40, n) + k for k, n in ((0, 90), (1000, 130))], [90, 130]
    paths = [m[0].long().numpy() % 90 for m in mels]
    task = FrameTask(Aligner(settings(width=16)).classifier.eval(), mels, paths)
    b = task.batch(torch.Generator().manual_seed(0), 12)
    assert b["mels"].shape == (12, 40, 128) and (b["mels"][:, 0].long() % 90 == b["phones"]).all()
    logs = task.classifier(b["mels"])
    expected = torch.stack([-logs[i, t, b["phones"][i, t]] for i in range(12) for t in range(128)]).mean()
    torch.testing.assert_close(task(b)[0], expected)


def test_boundaries_with_fractions():
    ramp = np.linspace(1, -1, 21)   # crosses zero exactly at frame 10
    scores = np.stack([ramp, -ramp], 1)
    assert abs(phone_starts(scores, viterbi(scores))[1] - 10) < 1e-9
    shifted = np.stack([np.linspace(1, -1.1, 22) - .03, 0 * np.arange(22)], 1)
    exact = np.interp(0, -shifted[:, 0], np.arange(22))
    assert abs(phone_starts(shifted, viterbi(shifted))[1] - exact) < 1e-9


def test_features_forget_level_and_keep_time():
    audio = torch.randn(48_000) * torch.linspace(0.1, 1, 48_000)
    torch.testing.assert_close(mel_features(audio * .3), mel_features(audio), atol=1e-3, rtol=1e-3)
    assert mel_features(audio).shape == (40, 48_000 // 256 + 1)


def synthetic(folder, count=40, seed=0):
    "Tones and noises with known boundaries: 'sil', 's' = noise, 'a' = low hum, 'i' = high hum."
    rng, utterances = np.random.default_rng(seed), []
    voice = {"sil": lambda n: 1e-3 * rng.normal(size=n), "s": lambda n: .3 * rng.normal(size=n),
             "a": lambda n: .3 * np.sign(np.sin(2 * np.pi * 150 * np.arange(n) / 48_000)),
             "i": lambda n: .3 * np.sin(2 * np.pi * 3000 * np.arange(n) / 48_000)}
    for k in range(count):
        symbols = ["sil", *rng.choice(["s", "a", "i"], rng.integers(2, 8)).tolist(), "sil"]
        symbols = [s for s, before in zip(symbols, [None] + symbols) if s != before]
        lengths = rng.integers(4000, 9000, len(symbols))
        path = save(Path(folder) / f"{k}.wav",
                    torch.tensor(np.concatenate([voice[s](n) for s, n in zip(symbols, lengths)]),
                                 dtype=torch.float32)) or Path(folder) / f"{k}.wav"
        starts = (np.cumsum(lengths) - lengths) / 48_000
        utterances.append(Utterance(str(k), "", [], "x", "train", Path(path), lengths.sum() / 48_000, symbols,
                                    [0] * len(symbols), starts.tolist()))
    return Corpus(folder, "synthetic", utterances)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    corpus = synthetic(tmp_path_factory.mktemp("sounds"))
    config = settings(ctc_steps=400, rounds=4, round_steps=40, batch=6, width=48)
    return corpus, train_aligner(corpus, config=config, progress=False)


def test_finds_known_boundaries(trained):
    corpus, aligner = trained
    errors = measure_aligner(aligner, corpus, "train")
    assert errors["median_ms"] < 10
    assert errors["within_95_ms"] < 40
    assert errors["shortest_frames"] >= 1
    assert errors["n"] == len(corpus)


def test_starts_that_a_corpus_brings_are_kept(trained):
    corpus, aligner = trained
    assert align_corpus(corpus) is corpus   # nothing is trained
    mixed = Corpus(corpus.folder, "mixed", [replace(u, starts=None if i % 2 else u.starts) for i,
                                            u in enumerate(corpus)][:6])
    timed = align_corpus(mixed, aligner, pauses=False, progress=False)
    assert all(a.starts == b.starts for a, b in list(zip(timed, mixed))[::2]) and all(u.starts for u in timed)
    again = align_corpus(mixed, aligner, pauses=False, trust=False, progress=False)
    assert [u.starts for u in again] != [u.starts for u in timed]


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.integers(0, 10 ** 6), st.integers(1, 30), st.integers(0, 1023))
def test_no_phone_lasts_less_than_a_latent_frame(seed, n, spare):
    torch.manual_seed(seed)
    aligner, symbols = Aligner(settings(width=8)), [SYMBOLS[i] for i in torch.randint(1, 60, (n,))]
    for frames in n, n + 1, 2 * n + 3:   # even where there is hardly room
        found = aligner.align(torch.randn(frames * 1024 - spare * (frames > n)), symbols)
        assert min(found.durations) >= 1 and sum(found.durations) == frames and found.starts[0] == 0
        assert min(np.diff([*found.starts, found.end]), default=1) >= 1024 / 48_000 - 1e-9


def test_alignment_keeps_its_promises(trained):
    corpus, aligner = trained
    u = corpus[0]
    a, b = (aligner.align(corpus.audio(u), u.symbols, u.tones) for _ in range(2))
    assert a == b and min(a.durations) >= 1 and a.starts[0] == 0 and a.starts == sorted(a.starts) and a.end == u.seconds
    assert sum(a.durations) == -(-round(u.seconds * 48_000) // 1024)
    rng_before = torch.get_rng_state()
    train_aligner(corpus, config=settings(.02, 1, 1, 1), progress=False)
    assert torch.equal(rng_before, torch.get_rng_state())


def test_training_is_reproducible(trained):
    corpus, _ = trained
    config = settings(.05, 3, 2, 3, width=16)
    one, two = (train_aligner(corpus, config=config, progress=False) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))
    other = train_aligner(corpus, config=config, seed=1, progress=False)
    assert not torch.equal(one.recogniser.leave.weight, other.recogniser.leave.weight)


def test_an_interrupted_training_goes_on_where_it_stopped(trained, tmp_path, monkeypatch):
    corpus, _ = trained
    config, calls = settings(.05, 3, 2, 3, width=16), []
    whole = train_aligner(corpus, config=config, progress=False)
    def cut(*args, **more):
        calls.append(args[2].name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*args, **more)
    monkeypatch.setattr(lesson, "fit", cut)
    with pytest.raises(KeyboardInterrupt):
        train_aligner(corpus, config=config, folder=tmp_path, progress=False)
    again = train_aligner(corpus, config=config, folder=tmp_path, progress=False)
    assert calls == ["recogniser", "round-1", "round-2"] * 2
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))


def test_finds_a_hidden_pause_and_drops_none(trained):
    corpus, aligner = trained
    u = next(u for u in corpus if len(u.symbols) >= 5)
    tones, cut = [0] + [1] * (len(u.symbols) - 2) + [0], int(u.starts[2] * 48_000)
    audio = corpus.audio(u)
    assert "sp" not in aligner.align(audio, u.symbols, tones, pauses=True).symbols
    broken = torch.cat([audio[:cut], 1e-3 * torch.randn(12_000), audio[cut:]])
    found = aligner.align(broken, u.symbols, tones, pauses=True)
    assert found.symbols[2] == "sp" and found.tones[2] == 0 and abs(found.starts[3] - found.starts[2] - .25) < .04


def test_errors_are_typed(trained):
    corpus, aligner = trained
    with pytest.raises(AlignerError, match="can't hold"):
        aligner.align(torch.randn(2000), ["sil", "a"] * 20)
    with pytest.raises(AlignerError, match="must pair"):
        aligner.align(torch.randn(20_000), ["sil", "a"], [0])
    with pytest.raises(AlignerError, match="no phone"):
        class_ids(["sil", "Ω"])
    with pytest.raises(AlignerError, match="no 'test'"):
        train_aligner(corpus, split="test")
    assert class_ids(SYMBOLS).max() < len(SYMBOLS)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real recordings are not on this machine")
def test_aligns_real_words():
    corpus = open_corpus(REAL)
    words = [u for u in corpus.split("train") if u.id.startswith("w")][:40]
    small = Corpus(corpus.folder, "words", words)
    aligner = train_aligner(small, config=settings(ctc_steps=20, rounds=1, round_steps=10), progress=False)
    timed = align_corpus(small, aligner, progress=False)
    assert len(timed) + len(timed.report) == len(words) and all(u.starts == sorted(u.starts) for u in timed)


def spoken(symbols, starts, tones=None):
    return Alignment(symbols, tones or [0] * len(symbols), starts, starts[-1] + .1, [], 0.)


def test_boundary_errors_match_phones_past_pauses():
    known = spoken(["sil", "a", "sp", "i", "sil"], [0, .1, .2, .3, .4])
    assert np.allclose(boundary_errors(spoken(known.symbols, [0, .11, .2, .29, .4]), known)[1:], [10, 0, -10, 0])
    fewer = boundary_errors(spoken(["sil", "a", "i", "sil"], [0, .1, .3, .42]), known)
    assert np.isnan(fewer[[0, 2]]).all() and np.allclose(fewer[[1, 3, 4]], [0, 0, 20])
    with pytest.raises(AlignerError, match="two different texts"):
        boundary_errors(spoken(["sil", "o", "i", "sil"], [0, .1, .2, .3]), known)


def test_syllable_starts():
    assert syllable_starts(spoken("sil n i h ao sp a sil".split(), [0, 1, 2, 3, 4, 5, 6, 7],
                                  [0, 0, 3, 0, 3, 0, 5, 0])) == [1, 3, 6]
    assert syllable_starts(spoken(["sil", "iao", "g", "uai", "sil"], [0, 1, 2, 3, 4], [0, 1, 0, 4, 0])) == [1, 2]


def test_viewer_draws_any_corpus(trained):
    import matplotlib.pyplot as plt
    corpus, aligner = trained
    u, audio = corpus[0], corpus.audio(corpus[0])
    axes = show_alignment(audio, aligner.align(audio, u.symbols), u, "title")
    assert len(axes) == 4
    assert [t.get_text() for t in axes[2].texts] == u.symbols * 2
    assert len(show_alignment(audio, u)) == 3
    untimed = Corpus(corpus.folder, "untimed", [replace(u, starts=None) for u in corpus])
    with pytest.raises(AlignerError, match="give an aligner"):
        browse_alignments(untimed)
    for box in browse_alignments(corpus), browse_alignments(corpus, aligner), browse_alignments(untimed, aligner):
        for number in 0, box.children[0].max:
            box.f(number)   # what the slider calls
        plt.close("all")


def hand_starts():
    return [line.split("\t") for line in HAND.read_text("utf8").splitlines()]


def test_marks_by_hand_are_whole():
    header, *lines = hand_starts()
    assert header == ["id", "split", "pinyin", "starts", "within", "seen"]
    for name, _, pinyin, starts, within, seen in lines:
        starts = [int(s) for s in starts.split()]
        assert len(starts) == len(within.split()) == len(pinyin.split()) and starts == sorted(starts) and seen, name


@pytest.mark.skipif(not REAL.is_dir(), reason="the real recordings are not on this machine")
def test_marks_by_hand_belong_to_clips_drawn_by_seed():
    corpus, (_, *lines) = open_corpus(REAL), hand_starts()
    drawn = {"valid": random.Random(0).sample(sorted(u.id for u in corpus.split("valid") if u.id[0] == "w"), 20),
             "test": random.Random(0).sample(sorted(u.id for u in corpus.split("test") if u.id[0] == "w"
                                                    and len(u.pinyin) == 2), 10)}
    assert [line[:2] for line in lines] == [[name, split] for split in drawn for name in sorted(drawn[split])]
    assert all(corpus[name].pinyin == pinyin.split() and int(starts.split()[-1]) / 1000 < corpus[name].seconds
               for name, _, pinyin, starts, *_ in lines)


def test_recorded_errors_are_what_is_promised():
    recorded = json.loads((HAND.parents[2] / "data/results/42_aligner.json").read_text("utf8"))
    assert {"command", "date", "machine", "rows"} <= recorded.keys()
    exact, valid, test = recorded["rows"]
    assert exact["median_ms"] <= 10 and exact["within_95_ms"] <= 40 and exact["n"] == 150
    assert valid["n"] == 20 and valid["starts"] == 37 and test["n"] == 10 and test["starts"] == 20
    assert all(row["shortest_frames"] >= 1 and len(row["split_sha256"]) == 64 and "seed" in row
               for row in recorded["rows"])


def test_viterbi_takes_more_states_than_a_byte_counts():
    scores = np.full((600, 300), -5.0)
    for s in range(300):
        scores[2 * s:2 * s + 2, s] = 0
    assert (viterbi(scores) == np.arange(600) // 2).all()
