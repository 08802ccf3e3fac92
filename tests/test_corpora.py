"The embedded corpus: same bits, right labels, honest splits, damage that is seen."
import json, math, os, subprocess, sys
from collections import Counter
from pathlib import Path
import numpy as np, pytest
from latentspeech.config import CorpusConfig, SAMPLE_RATE
from latentspeech.corpora import CorpusError, common_syllables, frame_durations, load_corpus, make_embedded_corpus
from latentspeech.corpora import make_sentences, plan_corpus
from latentspeech.espeak import VOICES
from latentspeech.files import sha256
from latentspeech.text import SYMBOLS, front_end, to_phones, to_pinyin

SMALL = CorpusConfig(utterances=6, valid=1, test=1, seed=3)

@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_embedded_corpus(tmp_path_factory.mktemp("c") / "small", SMALL, progress=False)

@pytest.fixture(scope="module")
def plan():
    return plan_corpus(CorpusConfig())

# the plan of the whole corpus

def test_every_common_syllable_with_every_tone_is_taught_three_times(plan):
    said = Counter(p for job in plan if job["split"] == "train" for p in job["tokens"])
    assert len(common_syllables()) > 1200 and min(said[p] for p in common_syllables()) >= 3

def test_held_out_texts_are_natural_and_never_in_train(plan):
    texts = {s: [j["text"] for j in plan if j["split"] == s] for s in ("train", "valid", "test")}
    assert len(texts["test"]) >= 120 and len(plan) == 2000
    assert len({t for ts in texts.values() for t in ts}) == 2000
    assert not any("(" in t for t in texts["test"] + texts["valid"])
    first = list(make_sentences(2000))
    assert texts["valid"] == first[150:250]
    # the first test was looked at, and is in no split
    assert set(texts["test"]) <= set(make_sentences(300, seed=1)) - set(first[:150])

def test_front_end_reads_each_text_as_spoken(plan):
    for job in plan:
        said = to_phones(["sil", *job["tokens"], "sil"])
        read = front_end(job["text"], rules="basic")
        assert (read.symbols, read.tones) == (said.symbols, said.tones), job["text"]

def test_the_recipe_stays_the_one_that_the_weights_were_trained_on(plan):
    assert sha256(json.dumps([plan, VOICES]))[:8] == "0b692723"

def test_no_two_third_tones_meet(plan):
    assert not any(a[-1] == b[-1] == "3" for j in plan for a, b in zip(j["tokens"], j["tokens"][1:]))

def test_impossible_sizes_are_refused():
    for bad in (CorpusConfig(utterances=10, valid=5, test=5), CorpusConfig(utterances=0), CorpusConfig(valid=-1)):
        with pytest.raises(CorpusError, match="ask for more"):
            plan_corpus(bad)

# sound and labels

def test_same_bits_in_another_process(corpus, tmp_path):
    code = ("import sys, torch; torch.set_num_threads(2)\nfrom latentspeech.corpora import *\nfrom "
            "latentspeech.config import CorpusConfig\n"
            "from latentspeech.espeak import espeak\nespeak('ma1', 'cmn-latn-pinyin+m3')\n"
            "make_embedded_corpus(sys.argv[1], CorpusConfig(utterances=6, valid=1, test=1, seed=3), progress=False)")
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).resolve().parents[1]))
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True, env=env)
    assert (tmp_path / "again/manifest.json").read_bytes() == (corpus.folder / "manifest.json").read_bytes()
    assert not load_corpus(tmp_path / "again").verify()

def test_utterances_fit_their_sound(corpus):
    for u in corpus:
        audio = corpus.audio(u)
        assert len(audio) == round(u.seconds * SAMPLE_RATE) and audio.abs().max() < 1
        assert len(u.symbols) == len(u.tones) == len(u.starts) and set(u.symbols) <= set(SYMBOLS)
        assert np.all(np.diff([*u.starts, u.end]) > 0)
        assert 0.0499 <= u.starts[1] <= 0.1501
        assert 0.0499 <= u.end - u.starts[-1] <= 0.151
        assert to_pinyin(u.text, rules="basic") == u.pinyin

def test_frame_durations_against_brute_force():
    draw = np.random.default_rng(0)
    for _ in range(300):
        n = int(draw.integers(2, 12))
        end = float(draw.uniform(n + 2, 4 * n + 3) * 1024 / SAMPLE_RATE)
        starts = [0.0, *sorted(draw.uniform(0, end, n - 1))]
        d = frame_durations(starts, end)
        assert min(d) >= 1 and sum(d) == math.ceil(round(end * SAMPLE_RATE) / 1024) and len(d) == n
        if min(np.diff([*starts, end])) > 2100 / SAMPLE_RATE:
            assert np.abs(np.cumsum(d)[:-1] - np.array(starts[1:]) * SAMPLE_RATE / 1024).max() <= 0.5 + 1e-9

# the folder

def test_idempotent_and_damage_is_seen(corpus, tmp_path):
    stamp = (corpus.folder / "manifest.json").stat().st_mtime_ns
    again = make_embedded_corpus(corpus.folder, SMALL, progress=False)
    assert (corpus.folder / "manifest.json").stat().st_mtime_ns == stamp
    assert again.split_sha256("test") == corpus.split_sha256("test")
    u = again[2]
    data = bytearray(u.path.read_bytes())
    data[len(data) // 2] ^= 1
    u.path.write_bytes(data)
    try:
        assert again.verify() == [u.id]
    finally:
        data[len(data) // 2] ^= 1
        u.path.write_bytes(data)
    assert again.verify() == []

def test_another_folder_is_never_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CorpusError, match="something else"):
        make_embedded_corpus(tmp_path, SMALL, progress=False)
    assert (tmp_path / "thesis.txt").exists()

@pytest.mark.parametrize("damage", ["", "{", "[]", "<html>", '{"utterances": [{}]}',
                                    '{"utterances": 3, "name": "x", "recipe": ""}', "cut", "path", "labels"])
def test_damaged_manifests(corpus, tmp_path, damage):
    text = (corpus.folder / "manifest.json").read_text("utf8")
    if damage == "cut":
        damage = text[:len(text) // 2]
    if damage == "path":
        damage = text.replace("audio/", "../audio/")
    if damage == "labels":
        manifest = json.loads(text)
        manifest["utterances"][0]["starts"].pop()
        damage = json.dumps(manifest)
    (tmp_path / "manifest.json").write_text(damage, "utf8")
    with pytest.raises(CorpusError, match="manifest.json is damaged"):
        load_corpus(tmp_path)

def test_folder_that_is_none(tmp_path):
    with pytest.raises(CorpusError, match="no folder"):
        load_corpus(tmp_path / "none")
    with pytest.raises(CorpusError, match="is no corpus"):
        load_corpus(tmp_path)

def test_two_makers_at_once_agree(tmp_path):
    code = ("import sys\nfrom latentspeech.corpora import *\nfrom latentspeech.config import CorpusConfig\n"
            "print(len(make_embedded_corpus(sys.argv[1], CorpusConfig(utterances=6, valid=1, test=1), "
            "progress=False).verify()))")
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).resolve().parents[1]))
    makers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "c")], env=env, text=True,
                               stdout=subprocess.PIPE) for _ in range(2)]
    assert [m.communicate()[0].strip() for m in makers] == ["0", "0"]
    assert [f.name for f in tmp_path.iterdir()] == ["c"]

def test_a_failing_worker_says_why(tmp_path):
    from latentspeech.corpora import make_aside
    class Bar:
        def update(self):
            pass
    with pytest.raises(CorpusError, match="espeak's process failed.*cannot say"):
        make_aside([dict(tokens=["hng5"], speaker="male", speed=200, pitch=50, silence=(0.1, 0.1), seed=0, id="a")],
               tmp_path, Bar())

def test_what_a_killed_maker_left_is_swept(tmp_path):
    "Killed makers left drafts of their own; the next one removes them, but for that of a maker who is alive."
    from latentspeech.files import folder_lock
    for name in ("dead1", "dead2", "alive"):
        (tmp_path / f".c-{name}" / "audio").mkdir(parents=True)
    with folder_lock(tmp_path / ".c-alive"):
        make_embedded_corpus(tmp_path / "c", CorpusConfig(utterances=6, valid=1, test=1), progress=False)
        assert sorted(f.name for f in tmp_path.iterdir()) == [".c-alive", "c"]
    assert sorted(f.name for f in (tmp_path / "c").iterdir()) == ["audio", "manifest.json"]


def test_what_is_noted_is_not_planned_again_until_something_changes(tmp_path, monkeypatch):
    from latentspeech import corpora
    monkeypatch.setenv("LATENTSPEECH_DATA", str(tmp_path))
    config, plans, plan = CorpusConfig(utterances=6, valid=1, test=1), [], corpora.plan_corpus
    monkeypatch.setattr(corpora, "plan_corpus", lambda config: plans.append(config) or plan(config))
    first, again = (make_embedded_corpus(config=config, progress=False) for _ in range(2))
    assert len(plans) == 1 and again.recipe == first.recipe and again.folder == first.folder
    make_embedded_corpus(config=CorpusConfig(utterances=7, valid=1, test=1), progress=False)
    monkeypatch.setattr(corpora, "_deciding", lambda: "another front end")
    assert make_embedded_corpus(config=config, progress=False).recipe == first.recipe and len(plans) == 3
    for note in (tmp_path / ".recipes").iterdir():
        note.write_text("../../elsewhere")    # damage is no recipe
    assert make_embedded_corpus(config=config, progress=False).recipe == first.recipe and len(plans) == 4
