"Text recognisers behind the judge's interface, with stub packages that answer as the real ones do."
import sys, types
import numpy as np, pytest, torch
from latentspeech import recognisers as r
from latentspeech.audio import vowel
from latentspeech.weights import PretrainedError
from latentspeech.judge import Judge, Recogniser
from latentspeech.files import MissingExtra

SOUND = vowel("a", 1, 0.5, 150)


class Package(types.ModuleType):
    "Stand in for whisper and funasr: remembers each call, says what it is told to say."
    def __init__(self, name, text):
        super().__init__(name)
        self.text, self.calls = text, []
    def load_model(self, name, device=None):
        self.calls.append(("load", name, device))
        return self
    def AutoModel(self, model, **options):
        self.calls.append(("load", model, options))
        return self
    def transcribe(self, audio, *, language=None, temperature=(0.0, 0.2), condition_on_previous_text=True,
                   initial_prompt=None, fp16=True):
        self.calls.append(("hear", audio, dict(language=language, temperature=temperature,
                                               context=condition_on_previous_text, fp16=fp16)))
        return dict(text=self.text, segments=[], language=language)
    def generate(self, input, **options):
        self.calls.append(("hear", input, options))
        return [dict(key="rand_key", text=self.text)]


@pytest.fixture
def package(monkeypatch):
    def make(name, text):
        monkeypatch.setitem(sys.modules, name, stub := Package(name, text))
        return stub
    return make


KINDS = [("whisper", "whisper", " 今天天氣很好。"), ("paraformer", "funasr", "今 天 天 气 很 好"),
         ("sensevoice", "funasr", "<|zh|><|NEUTRAL|><|Speech|><|woitn|>今天天气很好")]


@pytest.mark.parametrize("kind, module, text", KINDS)
def test_characters_come_out_as_syllables(package, kind, module, text):
    stub = package(module, text)
    ear = r.recogniser(kind)
    assert isinstance(ear, Recogniser)
    assert not ear.hears_tones
    assert not stub.calls     # nothing is loaded before it is needed
    assert ear.transcribe_batch([SOUND, SOUND]) == ["jin1 tian1 tian1 qi4 hen2 hao3".split()] * 2
    (load, name, _), (_, samples, _), (_, again, _) = stub.calls                      # loaded once, called twice
    assert load == "load" and name == ear.name and samples.dtype == np.float32 and samples.shape == (8000,)
    assert np.array_equal(samples, again)


def test_whisper_is_called_for_repeatable_mandarin(package):
    stub = package("whisper", "好")
    assert r.recogniser("whisper:large-v3").transcribe(SOUND[::3], 16_000) == ["hao3"]
    assert stub.calls[0] == ("load", "large-v3", "cpu")
    assert stub.calls[1][2] == dict(language="zh", temperature=0.0, context=False, fp16=False)


@pytest.mark.parametrize("kind, module, text", KINDS)
@pytest.mark.parametrize("bad", [torch.zeros(0), torch.zeros(48_000), torch.full((4800,), float("nan")),
                                 torch.zeros(2, 480)])
def test_silence_never_reaches_the_model(package, kind, module, text, bad):
    stub = package(module, "谢谢观看")
    assert r.recogniser(kind).transcribe(bad) == [] and not stub.calls


@pytest.mark.parametrize("text", ["", "   ", "。，！", "<|nospeech|><|EMO_UNKNOWN|>"])
def test_what_cannot_be_said_is_no_syllables(package, text):
    package("whisper", text)
    assert r.Whisper().transcribe(SOUND) == []


@pytest.mark.parametrize("kind, module, pip", [("whisper", "whisper", "openai-whisper"),
                                               ("paraformer", "funasr", "funasr"), ("sensevoice", "funasr", "funasr")])
def test_a_missing_package_names_the_cure(monkeypatch, kind, module, pip):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=f"pip install {pip}$"):
        r.recogniser(kind).transcribe(SOUND)


def test_other_names_are_judges():
    try:
        assert isinstance(r.recogniser("mini"), Judge)
    except PretrainedError as error:
        pytest.skip(str(error))
    with pytest.raises(PretrainedError):
        r.recogniser("no-such-judge")
