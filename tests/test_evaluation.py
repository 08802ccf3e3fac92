"""The rows of the results table: made once where no seed changes them, and believed only beside their controls."""
import json
from types import SimpleNamespace

import pytest
import torch

from latentspeech.config import PRESETS
from latentspeech.corpora import make_embedded_corpus
from latentspeech.evaluation import bounds, evaluate, noise_control, other_texts, renditions, say, utterance_phones
from latentspeech.judge import Judge
from latentspeech.listening import bad_control
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


def test_a_control_is_the_same_sound_wherever_it_is_made(corpus):
    """White noise as loud as the speech, a seed for each sound: that of the listening test, in the table too."""
    sounds = [corpus.audio(u) for u in corpus.split("test")[:2]]
    for k, (a, noisy) in enumerate(zip(sounds, noise_control(sounds, 3))):
        assert torch.equal(noisy, bad_control(a, 3 + k))
        assert torch.equal(noisy, bounds(sounds, 3)["control: 0 dB noise"][k])
        hiss = (noisy - a)[None, :len(a) // 2 * 2]
        low, high = torch.fft.rfft(hiss).abs().square().chunk(2, 1)
        assert hiss.std() == pytest.approx(a.std().item(), rel=0.05) and 0.9 < low.mean() / high.mean() < 1.1


@pytest.mark.parametrize("texts", (["a", "b"], ["a", "a", "b", "c"], ["a", "a", "b"], ["a", "b", "a", "a"]))
def test_nobody_is_given_their_own_words(texts):
    utterances = [SimpleNamespace(text=t) for t in texts]
    assert all(a != b for a, b in zip(texts, other_texts(texts, utterances)))
    assert other_texts(["x"], utterances[:1]) == ["x"]


def test_say_keeps_the_order_and_the_speakers(tts, corpus):
    some = corpus.split("test")[:5]
    for sound, u in zip(say(tts, some, seed=2, size=2), some):
        alone, = tts.speak_phones([utterance_phones(u)], 2, u.speaker)
        torch.testing.assert_close(sound, alone.audio, atol=1e-4, rtol=0)


def test_bounds_lie_where_they_should(corpus):
    """A copy that went to 16 kHz is heard as its original; noise hides syllables; a flat melody hides tones alone."""
    test, judge = corpus.split("test"), Judge.from_pretrained("mini")
    sounds, said = [corpus.audio(u) for u in test], [u.pinyin for u in test]
    heard = {row: judge.transcribe_batch(some) for row, some in bounds(sounds).items()}
    ser, tone = ({row: float(rate(said, h)) for row, h in heard.items()}
                 for rate in (syllable_error_rate, tone_error_rate))
    assert ser["natural, resampled once"] <= 0.03
    assert ser["WORLD copy-synthesis"] <= 0.3
    assert ser["control: 0 dB noise"] > 0.1
    assert tone["control: tones flattened"] > 0.3 > tone["WORLD copy-synthesis"]
