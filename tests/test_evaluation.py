"""The rows of the results table: in order, made once where no seed changes them, and believed only beside their controls."""
import json

import pytest
import torch

from latentspeech.config import PRESETS
from latentspeech.corpora import make_embedded_corpus
from latentspeech.evaluation import bounds, evaluate, renditions, utterance_phones
from latentspeech.judge import Judge
from latentspeech.metrics import syllable_error_rate, tone_error_rate
from latentspeech.synthesis import LatentSpeech


BOUNDS = {"natural, resampled once", "WORLD copy-synthesis", "control: 0 dB noise", "control: tones flattened"}


@pytest.fixture(scope="module")
def tts():
    return LatentSpeech.from_pretrained("mini")


@pytest.fixture(scope="module")
def corpus():
    return make_embedded_corpus(config=PRESETS["tiny"].corpus, progress=False)


def test_the_judge_hears_espeak_through_the_whole_chain(tts, corpus):
    """Natural < full TTS < another text, on sentences that no training has seen."""
    test, judge = corpus.split("test"), Judge.from_pretrained("mini")
    rows = renditions(tts, corpus, test)
    error = {row: float(syllable_error_rate([u.pinyin for u in test], judge.transcribe_batch(sounds))) for row,
             sounds in rows.items()}
    assert error["natural"] <= 0.03 and error["reconstruction"] <= 0.08 and error["TTS"] <= 0.15
    assert error["control: another text"] >= 0.8


def test_true_durations_are_kept(tts, corpus):
    u = corpus.split("test")[0]
    assert utterance_phones(u).symbols == list(u.symbols)
    assert len(renditions(tts, corpus, [u])["TTS, true durations"][0]) == 1024 * -(-round(u.seconds * 48_000) // 1024)


def test_evaluate_gives_every_row_with_n_and_interval(corpus):
    table = json.loads(evaluate("mini", corpus, limit=3, n_seeds=1, n_distance=1, progress=False).to_json())
    ser = {r["row"]: r for r in table["rows"] if r["metric"].startswith("SER")}
    assert {"natural", "reconstruction", "control: another text"} <= ser.keys()
    assert all(r["n"] == (1 if r["row"] in BOUNDS else 3) and r["low"] <= r["value"] <= r["high"] for r in ser.values())
    assert BOUNDS <= ser.keys() and len({r["metric"] for r in table["rows"]}) == 10
    assert table["split_sha256"] == corpus.split_sha256("test") and len(table["voice_sha256"]) == 64


def test_rows_that_no_seed_changes_are_made_once(tts, corpus, monkeypatch):
    test, calls = corpus.split("test")[:2], []
    a, b = renditions(tts, corpus, test, 0), renditions(tts, corpus, test, 1)
    assert list(a) == ["natural", "reconstruction", "TTS, true durations", "TTS", "control: another text"]
    for row in a:
        assert all(torch.equal(x, y) for x, y in zip(a[row], b[row])) == (not row.startswith("TTS"))
    plain = type(tts.autoencoder).encode
    monkeypatch.setattr(type(tts.autoencoder), "encode", lambda *args, **how: calls.append(1) or plain(*args, **how))
    evaluate("mini", corpus, limit=2, n_seeds=3, n_distance=0, progress=False)
    assert len(calls) == 2


def test_bounds_lie_where_they_should(corpus):
    """A copy that went to 16 kHz is heard as well as its original; noise hides syllables; a flat melody hides tones and leaves syllables alone."""
    test, judge = corpus.split("test"), Judge.from_pretrained("mini")
    sounds, said = [corpus.audio(u) for u in test], [u.pinyin for u in test]
    heard = {row: judge.transcribe_batch(some) for row, some in bounds(sounds).items()}
    ser, tone = ({row: float(rate(said, h)) for row, h in heard.items()}
                 for rate in (syllable_error_rate, tone_error_rate))
    assert ser["natural, resampled once"] <= 0.03
    assert ser["WORLD copy-synthesis"] <= 0.3
    assert ser["control: 0 dB noise"] > 0.1
    assert tone["control: tones flattened"] > 0.3 > tone["WORLD copy-synthesis"]
