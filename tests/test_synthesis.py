"""The promises of the public names, and the shipped voice heard by the shipped judge."""
import inspect, json, shutil, subprocess, sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st

from latentspeech.autoencoder import Autoencoder, PretrainedError, weights_hash
from latentspeech.config import PRESETS
from latentspeech.corpora import CorpusError, load_corpus, make_embedded_corpus, speak_espeak
from latentspeech.judge import Judge
from latentspeech.metrics import syllable_error_rate
from latentspeech.synthesis import LatentSpeech, VoiceError, evaluate, renditions, utterance_phones
from latentspeech.text import TextError, front_end

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "latentspeech" / "pretrained"


@pytest.fixture(scope="module")
def tts(): return LatentSpeech.from_pretrained("mini")


@pytest.fixture(scope="module")
def corpus(): return make_embedded_corpus(config=PRESETS["tiny"].corpus, progress=False)


def parameters(function): return list(inspect.signature(function).parameters)


def test_promised_names_have_their_signatures():
    from latentspeech.audio import load, save
    from latentspeech.metrics import mel_cepstral_distortion
    from latentspeech.pqmf import PQMF
    from latentspeech.text import to_pinyin
    assert parameters(load)[:2] == ["path", "sample_rate"] and parameters(save)[:3] == ["path", "audio", "sample_rate"]
    assert inspect.signature(load).parameters["sample_rate"].default == 48_000
    assert parameters(PQMF)[0] == "n_bands" and PQMF(n_bands=16)(torch.zeros(1, 1, 100)).shape == (1, 16, 7)
    assert to_pinyin("你好") == ["ni2", "hao3"]
    assert parameters(LatentSpeech.from_pretrained)[:2] == ["name_or_path", "device"]
    assert {"text", "n_steps", "seed", "speaker", "pace"} <= set(parameters(LatentSpeech.speak))
    assert parameters(Judge.transcribe)[1:] == ["audio", "sample_rate"]
    assert callable(mel_cepstral_distortion) and callable(syllable_error_rate)


def test_speech_has_what_was_promised(tts):
    speech = tts.speak("你好", n_steps=8, seed=0, speaker=None, pace=1.0)
    assert speech.audio.ndim == 1 and speech.sample_rate == 48_000 and speech.latents.shape[0] == 16
    assert len(speech.audio) == 1024 * speech.latents.shape[1] and speech.audio.abs().max() <= 1
    assert [s[0] for s in speech.syllables] == ["ni2", "hao3"]
    (_, a, b), (_, c, d) = speech.syllables
    assert 0 < a < b <= c < d < speech.seconds


def test_same_seed_same_bits_and_another_seed_differs(tts):
    a, b, c = (tts.speak("今天天气很好。", seed=s).audio for s in (3, 3, 4))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_batch_of_mixed_lengths_equals_one_by_one(tts):
    texts = ["好。", "今天天气很好，我们去公园吧。", "谢谢你！"]
    for text, together in zip(texts, tts.speak_batch(texts, seed=5)):
        torch.testing.assert_close(together.latents, tts.speak(text, seed=5).latents, atol=1e-4, rtol=1e-4)


def test_streaming_equals_offline(tts):
    text = "今天天气很好。我们去公园吧！你去不去？"
    pieces, whole = list(tts.stream(text)), tts.speak(text)
    assert len(pieces) == 3 and "".join(p.text for p in pieces) == text
    torch.testing.assert_close(torch.cat([p.audio for p in pieces]), whole.audio, atol=1e-3, rtol=0)
    assert [s for p in pieces for s in p.pinyin] == whole.pinyin


@pytest.mark.parametrize("bad", ["", "   ", "！？", "\n", "😀"])
def test_text_with_nothing_to_say_is_a_typed_error_of_one_line(tts, bad):
    with pytest.raises(TextError) as caught: tts.speak(bad)
    assert str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=12, deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_finite_sound_or_a_typed_error(text):
    tts = LatentSpeech.from_pretrained("mini") if not hasattr(test_any_text_is_finite_sound_or_a_typed_error, "tts") else test_any_text_is_finite_sound_or_a_typed_error.tts
    test_any_text_is_finite_sound_or_a_typed_error.tts = tts
    try: speech = tts.speak(text, n_steps=1)
    except TextError as e: assert str(e); return
    assert len(speech.audio) and torch.isfinite(speech.audio).all()


def test_bad_settings_are_refused_by_name(tts):
    with pytest.raises(VoiceError, match="female, male"): tts.speak("好", speaker="nobody")
    with pytest.raises(VoiceError, match="at least 1"): tts.speak("好", n_steps=0)
    with pytest.raises(VoiceError, match="above 0"): tts.speak("好", pace=-1)


def test_missing_weights_say_how_to_make_them(tmp_path):
    for load in (LatentSpeech.from_pretrained, Autoencoder.from_pretrained, Judge.from_pretrained):
        with pytest.raises(PretrainedError, match="make weights PRESET=base"): load("base")


def test_a_voice_refuses_another_autoencoders_latents(tmp_path):
    for file in WEIGHTS.glob("mini-*"): shutil.copy(file, tmp_path)
    torch.manual_seed(1)
    Autoencoder(PRESETS["mini"].autoencoder).save_pretrained(tmp_path, "mini")
    with pytest.raises(PretrainedError, match="another autoencoder"): LatentSpeech.from_pretrained(tmp_path)


def test_shipped_weights_are_whole_small_and_belong_together(tts):
    assert sum(f.stat().st_size for f in WEIGHTS.glob("*.safetensors")) <= 40e6
    for part in ("autoencoder", "judge", "voice"):
        card = json.loads((WEIGHTS / f"mini-{part}.json").read_text("utf8"))
        assert {"sha256", "config", "corpus", "licence", "steps", "seed", "training_seconds", "machine"} <= card.keys()
    assert tts.card["latent_hash"] == weights_hash(tts.autoencoder.encoder)


def test_the_judge_hears_espeak_through_the_whole_chain(tts, corpus):
    """Natural < full TTS < another text, on sentences that no training has seen."""
    test, judge = corpus.split("test"), Judge.from_pretrained("mini")
    rows = renditions(tts, corpus, test)
    error = {row: float(syllable_error_rate([u.pinyin for u in test], judge.transcribe_batch(sounds))) for row, sounds in rows.items()}
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
    assert all(r["n"] == 3 and r["low"] <= r["value"] <= r["high"] for r in ser.values())
    assert table["split_sha256"] == corpus.split_sha256("test") and len(table["voice_sha256"]) == 64


def test_bad_input_from_the_shell_is_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "latentspeech.cli"] if (ROOT / "latentspeech" / "__main__.py").exists() else \
              [sys.executable, "-c", "import sys; from latentspeech.cli import main; sys.exit(main())"]
    for words in (["speak", ""], ["speak", "！？"], ["prepare", str(tmp_path / "nowhere")]):
        done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert done.returncode == 2 and "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    with pytest.raises(CorpusError): load_corpus(tmp_path)
