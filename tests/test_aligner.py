"The aligner against brute force, PyTorch's CTC, torchaudio's forced_align and known timings."
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from latentspeech.aligner import (Aligner, AlignerError, align_corpus, class_ids, ctc_states, ctc_step, forward_score, mel_features,
                                  phone_starts, train_aligner, viterbi)
from latentspeech.corpora import Corpus, CorpusError, Utterance, load_corpus
from latentspeech.audio import save
from latentspeech.text import SYMBOLS

pytestmark = pytest.mark.filterwarnings("ignore:CTC stopped")
REAL = Path(__file__).parents[2] / "shared/data/audio-cmn"


def every_path(n_frames, n_states, optional):
    "All ways through the states, by definition."
    for path in itertools.product(range(n_states), repeat=n_frames):
        steps = zip(path, path[1:])
        allowed = all(b == a or b == a + 1 or (b == a + 2 and optional[a + 1]) for a, b in steps)
        begins = path[0] == 0 or (path[0] == 1 and optional[0])
        ends = path[-1] == n_states - 1 or (path[-1] == n_states - 2 and optional[-1])
        if allowed and begins and ends: yield np.array(path)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10 ** 6), st.integers(3, 6), st.integers(2, 4), st.integers(-1, 3))
def test_viterbi_and_forward_equal_brute_force(seed, n_frames, n_states, which):
    scores, optional = np.random.default_rng(seed).normal(size=(n_frames, n_states)), np.zeros(n_states, bool)
    if 0 <= which < n_states: optional[which] = True
    if n_frames < n_states: return
    totals = [scores[np.arange(n_frames), p].sum() for p in every_path(n_frames, n_states, optional)]
    path = viterbi(scores, optional)
    assert any((path == p).all() for p in every_path(n_frames, n_states, optional))
    assert abs(scores[np.arange(n_frames), path].sum() - max(totals)) < 1e-9
    assert abs(forward_score(scores, optional) - np.logaddexp.reduce(totals)) < 1e-9


@pytest.mark.parametrize("labels", [[1], [1, 1], [3, 1, 4, 1, 5], [2, 2, 2], [5, 5, 1, 1]])
def test_forward_is_ctc(labels):
    logits = torch.randn(15, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(labels))).log_softmax(1)
    states, optional = ctc_states(labels)
    theirs = F.ctc_loss(logits[:, None], torch.tensor([labels]), [15], [len(labels)], reduction="sum")
    assert abs(-forward_score(logits[:, states].numpy(), optional) - theirs.item()) < 1e-9


def test_path_equals_torchaudio_forced_align():
    functional = pytest.importorskip("torchaudio.functional")
    logits, labels = torch.randn(60, 9, generator=torch.Generator().manual_seed(0)).log_softmax(1), [3, 3, 1, 8, 2]
    try: theirs, _ = functional.forced_align(logits[None], torch.tensor([labels], dtype=torch.int32), blank=0)
    except (RuntimeError, AttributeError, OSError) as error: pytest.skip(f"this torchaudio has no forced_align: {type(error).__name__}")
    states, optional = ctc_states(labels)
    assert (states[viterbi(logits[:, states].double().numpy(), optional)] == theirs[0].numpy()).all()


def test_ctc_step_is_the_mean_over_a_padded_batch():
    torch.manual_seed(0)
    aligner, mels, labels = Aligner(16).eval(), [torch.randn(40, 80), torch.randn(40, 120)], [[1, 2, 3], [4, 5]]
    single = [ctc_step(aligner, [m], [l]).item() for m, l in zip(mels, labels)]
    both = ctc_step(aligner, mels, labels).item()
    assert abs(both - np.mean(single)) < .25   # only the edge of the shorter one differs


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
        path = save(Path(folder) / f"{k}.wav", torch.tensor(np.concatenate([voice[s](n) for s, n in zip(symbols, lengths)]), dtype=torch.float32)) or Path(folder) / f"{k}.wav"
        starts = (np.cumsum(lengths) - lengths) / 48_000
        utterances.append(Utterance(str(k), "", [], "x", "train", Path(path), lengths.sum() / 48_000, symbols, [0] * len(symbols), starts.tolist()))
    return Corpus(folder, "synthetic", utterances)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    corpus = synthetic(tmp_path_factory.mktemp("sounds"))
    return corpus, train_aligner(corpus, ctc_steps=400, rounds=4, round_steps=40, batch=6, width=48, progress=False)


def test_finds_known_boundaries(trained):
    corpus, aligner = trained
    timed = align_corpus(corpus, aligner, pauses=False, progress=False)
    errors = np.concatenate([np.subtract(a.starts, b.starts)[1:] for a, b in zip(timed, corpus)])
    assert np.median(abs(errors)) < .010 and np.mean(abs(errors) < .040) > .95


def test_alignment_keeps_its_promises(trained):
    corpus, aligner = trained
    u = corpus[0]
    a, b = (aligner.align(corpus.audio(u), u.symbols, u.tones) for _ in range(2))
    assert a == b and min(a.durations) >= 1 and a.starts[0] == 0 and a.starts == sorted(a.starts) and a.end == u.seconds
    assert sum(a.durations) == -(-round(u.seconds * 48_000) // 1024)
    rng_before = torch.get_rng_state()
    train_aligner(corpus, most=2, ctc_steps=1, rounds=1, round_steps=1, progress=False)
    assert torch.equal(rng_before, torch.get_rng_state())


def test_training_is_reproducible(trained):
    corpus, _ = trained
    one, two = (train_aligner(corpus, most=4, ctc_steps=3, rounds=1, round_steps=3, width=16, progress=False) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))


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
    with pytest.raises(AlignerError, match="can't hold"): aligner.align(torch.randn(2000), ["sil", "a"] * 20)
    with pytest.raises(AlignerError, match="must pair"): aligner.align(torch.randn(20_000), ["sil", "a"], [0])
    with pytest.raises(AlignerError, match="no phone"): class_ids(["sil", "Ω"])
    with pytest.raises(AlignerError, match="no 'test'"): train_aligner(corpus, split="test")
    assert class_ids(SYMBOLS).max() < len(SYMBOLS)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real recordings are not on this machine")
def test_aligns_real_words():
    corpus = load_corpus(REAL)
    words = [u for u in corpus.split("train") if u.id.startswith("w")][:40]
    small = Corpus(corpus.folder, "words", words)
    timed = align_corpus(small, train_aligner(small, ctc_steps=20, rounds=1, round_steps=10, progress=False), progress=False)
    assert len(timed) + len(timed.report) == len(words) and all(u.starts == sorted(u.starts) for u in timed)
