"The synthesiser: what it refuses, and whether its sound does what its labels say."
import threading
import numpy as np, pytest, torch
from latentspeech.audio import resample
from latentspeech.config import SAMPLE_RATE
from latentspeech.corpora import CorpusConfig, CorpusError, common_syllables, make_embedded_corpus
from latentspeech.espeak import ESPEAK_RATE, VOICES, EspeakError, espeak, espeak_library, espeak_phonemes, speak_espeak
from latentspeech.text import to_phones

def test_every_common_base_can_be_said():
    for base in sorted({p[:-1] for p in common_syllables()})[::4] + ["jiong", "qiong", "xiong"]:
        speak_espeak([base + "4"])

@pytest.mark.parametrize("syllable", ["hng5", "m2"])
def test_what_espeak_reads_as_english_is_refused(syllable):
    with pytest.raises(EspeakError, match="cannot say"):
        speak_espeak([syllable])

@pytest.mark.parametrize("voice", ["female", "male"])
def test_sound_starts_and_ends_where_the_labels_say(voice):
    for p in ("ma1", "shi4", "ta2", "lv3", "xiong2"):
        audio, starts = speak_espeak([p, "sp", p], voice, silence=(0.12, 0.1))
        loud = np.flatnonzero(np.convolve(audio.numpy() ** 2, np.ones(96) / 96, "same") > 1e-5) / SAMPLE_RATE
        assert abs(loud[0] - starts[1]) < 0.008 and starts[0] == 0
        pause = starts[to_phones(["sil", p, "sp", p, "sil"]).symbols.index("sp")]
        assert audio[int((pause + 0.05) * SAMPLE_RATE):int((pause + 0.06) * SAMPLE_RATE)].abs().max() < 0.01

@pytest.mark.parametrize("voice", ["female", "male"])
def test_tones_have_their_contours(voice):
    def contour(p):  # fundamental frequency by autocorrelation
        audio, starts = speak_espeak(["ma1", p, "ma1"], voice, speed=120)
        def f0(t):
            x = audio[int(t * SAMPLE_RATE):int((t + 0.05) * SAMPLE_RATE)].double()
            r = torch.fft.irfft(torch.fft.rfft(x - x.mean(), 8192).abs() ** 2)
            low, high = SAMPLE_RATE // 320, SAMPLE_RATE // 50
            return SAMPLE_RATE / (low + int(r[low:high].argmax()))
        a, b = starts[4], starts[5]
        return f0(a), f0(b - 0.05)
    (h1, h2), (r1, r2), (l1, l2), (f1, f2) = (contour(f"ma{t}") for t in (1, 2, 3, 4))
    assert r2 > r1 * 1.05 and f2 < f1 * 0.95 and h1 > l1 and h2 > l2 and r1 < h1

def test_the_sound_is_resampled_as_audio_does_it():
    samples, events = espeak("ma1", VOICES["female"][0], pitch_range=VOICES["female"][1])
    last = events[[name for name, _ in events].index("_|")][1]
    speech = samples[:last] / 32768
    wanted = resample(torch.tensor(0.07 * speech / np.sqrt(np.square(speech).mean())).float(), ESPEAK_RATE, SAMPLE_RATE)
    audio, _ = speak_espeak(["ma1"], silence=(0, 0))
    assert torch.allclose(audio[200:-200], wanted[200:-200], atol=2e-3)   # but for the room's noise

def test_missing_espeak_names_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("ESPEAK_LIBRARY", "/no/such/libespeak.so")
    with pytest.raises(EspeakError, match="apt install espeak-ng"):
        espeak("ni3", "cmn-latn-pinyin")
    with pytest.raises(CorpusError, match="apt install espeak-ng"):
        make_embedded_corpus(tmp_path / "c", CorpusConfig(utterances=3, valid=1, test=1), progress=False)
    assert not list(tmp_path.iterdir())

def test_threads_take_turns():
    said, threads = {}, []
    for word in ("ma1", "shi4", "hao3", "ni2") * 2:
        def work(word=word):
            said.setdefault(word, []).append(espeak(word, "cmn-latn-pinyin+m3")[0])
        threads.append(threading.Thread(target=work))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(sounds) == 2 and np.array_equal(*sounds) for sounds in said.values()) and len(said) == 4

def test_phonemes_and_sound_tell_the_same_names():
    _, events = espeak("judge", "en-us")
    assert espeak_phonemes("judge", "en-us") == ["_".join(name for name, _ in events if name[0] != "_")]

def test_the_environment_names_the_library(monkeypatch):
    monkeypatch.setenv("ESPEAK_LIBRARY", "/a/libespeak-ng.so")
    monkeypatch.setenv("ESPEAK_DATA_PATH", "/a")
    assert espeak_library() == ("/a/libespeak-ng.so", "/a")
