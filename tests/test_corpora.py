"The embedded corpus: same bits, right labels, honest splits; readers: round trips and damage."
import json, math, os, subprocess, sys, tarfile
from collections import Counter
from pathlib import Path
import numpy as np, pytest, soundfile, torch
from latentspeech.audio import resample
from latentspeech.config import CorpusConfig, SAMPLE_RATE
from latentspeech.corpora import (CorpusError, common_syllables, espeak, frame_durations, load_corpus,
                                  make_embedded_corpus,
                                  make_sentences, plan_corpus, speak_espeak)
from latentspeech.text import SYMBOLS, front_end, to_phones, to_pinyin

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
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
    from latentspeech.corpora import VOICES, _sha256
    assert _sha256(json.dumps([plan, VOICES]))[:8] == "0b692723"

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
            "espeak('ma1', 'cmn-latn-pinyin+m3')\n"
            "make_embedded_corpus(sys.argv[1], CorpusConfig(utterances=6, valid=1, test=1, seed=3), progress=False)")
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).resolve().parents[1]))
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True, env=env)
    assert (tmp_path / "again/manifest.json").read_bytes() == (corpus.folder / "manifest.json").read_bytes()
    assert not load_corpus(tmp_path / "again").verify()

def test_every_common_base_can_be_said():
    for base in sorted({p[:-1] for p in common_syllables()})[::4] + ["jiong", "qiong", "xiong"]:
        speak_espeak([base + "4"])

@pytest.mark.parametrize("syllable", ["hng5", "m2"])
def test_what_espeak_reads_as_english_is_refused(syllable):
    with pytest.raises(CorpusError, match="cannot say"):
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

def test_resampler_is_the_one_of_audio():
    from latentspeech.corpora import _upsampler
    noise = torch.randn(5000)
    assert torch.allclose(_upsampler()(noise), resample(noise, 22_050, SAMPLE_RATE), atol=1e-4)

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

def test_missing_espeak_names_what_to_install(monkeypatch):
    monkeypatch.setenv("ESPEAK_LIBRARY", "/no/such/libespeak.so")
    with pytest.raises(CorpusError, match="apt install espeak-ng"):
        espeak("ni3", "cmn-latn-pinyin")

# corpora of other makers

ROWS = ["id\ttext\tpinyin\tspeaker\tseconds\tsplit", "a1\t你好#1，世界#4。\tni6 hao3 shi4 jie4\tann\t0.5\ttrain",
        "a2\t再见。\tzai4 jian4\tbob\t0.5\ttest"]

def write(folder, rows=ROWS, ids=("a1", "a2"), archive=True, suffix="flac", encoding="utf8", end="\n", rate=24_000):
    (folder / "sounds.tsv").write_bytes(end.join(rows).encode(encoding))
    for i in ids:
        soundfile.write(folder / f"{i}.{suffix}", 0.3 * np.sin(np.arange(rate // 2) / 9), rate)
    if archive:
        with tarfile.open(folder / "sounds.tar", "w") as tar:
            for i in ids:
                tar.add(folder / f"{i}.{suffix}", f"{i}.{suffix}")
                (folder / f"{i}.{suffix}").unlink()
    return folder

@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("form", [dict(), dict(encoding="utf-8-sig"), dict(end="\r\n"),
                                  dict(suffix="wav", rate=48_000)])
def test_tables_round_trip(tmp_path, archive, form):
    (tmp_path / "c").mkdir()
    corpus = load_corpus(write(tmp_path / "c", archive=archive, **form))
    assert [u.id for u in corpus] == ["a1", "a2"] and corpus.speakers == ["ann", "bob"] and not corpus.report
    u = corpus["a1"]
    assert (u.text, u.pinyin, u.symbols[:6], u.starts) == ("你好，世界。", ["ni2", "hao3", "shi4", "jie4"],
                                                           ["sil", "n", "i", "h", "ao", "sp"], None)
    first, second = corpus.audio(u), corpus.audio(u)
    assert len(first) == SAMPLE_RATE // 2 and torch.equal(first, second) and 0.29 < first.abs().max() < 0.31
    assert len(corpus.split("test")) == 1

@pytest.mark.parametrize("line, text, message", [
    (3, "a2\t再见。", "line 3 has 2 columns"), (3, ROWS[1], "line 3 has id a1 again"),
    (2, ROWS[1].replace("a1", "../a1"), "line 2 has id '../a1'"),
    (2, ROWS[1].replace("train", "dev"), "line 2 has split 'dev'"),
    (1, "name\twords", "line 1 must name the columns"), (3, "", "line 3 has 1 columns")])
def test_tables_damage(tmp_path, line, text, message):
    rows = list(ROWS) + ["a3\t好。\thao3\tann\t0.5\ttrain"]
    rows[line - 1] = text
    with pytest.raises(CorpusError, match=message):
        load_corpus(write(tmp_path, rows))

def test_table_not_utf8(tmp_path):
    with pytest.raises(CorpusError, match="line 2 isn't UTF-8"):
        load_corpus(write(tmp_path, encoding="gb18030"))

@pytest.mark.parametrize("kind", ["parent", "link", "doubled", "text", "cut"])
def test_hostile_archives(tmp_path, kind):
    write(tmp_path)
    if kind == "cut":
        data = (tmp_path / "sounds.tar").read_bytes()
        (tmp_path / "sounds.tar").write_bytes(data[:2000])
    else:
        with tarfile.open(tmp_path / "sounds.tar", "a") as tar:
            info = tarfile.TarInfo({"parent": "../x.flac", "link": "b.flac", "doubled": "a1.flac",
                                    "text": "readme.txt"}[kind])
            if kind == "link":
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    with pytest.raises(CorpusError, match="sounds.tar"):
        load_corpus(tmp_path)

def test_rows_may_be_kept_for_their_sound_alone(tmp_path):
    rows = ROWS + ["a3\tVIP\t/ V IY1 /\tann\t0.5\ttrain", "a4\t一…也…\t\tann\t0.5\ttrain"]
    folder = write(tmp_path, rows, ids=("a1", "a2", "a3", "a4"))
    assert [u.id for u in load_corpus(folder)] == ["a1", "a2"]
    corpus = load_corpus(folder, sounds=True)
    assert [u.id for u in corpus] == ["a1", "a2", "a3", "a4"]
    assert corpus["a3"].pinyin == corpus["a3"].symbols == corpus["a4"].tones == []
    assert len(corpus.audio(corpus["a3"])) == SAMPLE_RATE // 2
    assert sum("for its sound alone" in line for line in corpus.report) == 2

def test_rows_left_out_are_reported(tmp_path):
    rows = ROWS + ["a3\tVIP\t/ V IY1 /\tann\t0.5\ttrain", "a4\t好。\thao9\tann\t0.5\ttrain",
                   "a5\t好。\thao3\tann\t0.5\ttrain"]
    corpus = load_corpus(write(tmp_path, rows, ids=("a1", "a2", "a3", "a4", "b9")))
    assert len(corpus) == 2 and len(corpus.report) == 4
    assert [any(x in line for line in corpus.report) for x in ("English", "hao9", "no sound", "b9")] == [True] * 4

def test_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "c").mkdir()
    write(tmp_path / "c", archive=False)
    (tmp_path / "secret.wav").write_bytes(b"x")
    (tmp_path / "c" / "a3.wav").symlink_to(tmp_path / "secret.wav")
    with pytest.raises(CorpusError, match="leads out"):
        load_corpus(tmp_path / "c")

@pytest.mark.skipif(not (DATA / "magicdata-cs").is_dir(),
                    reason="the real recordings of magicdata-cs aren't on this machine")
def test_magicdata():
    corpus = load_corpus(DATA / "magicdata-cs")
    assert len(corpus) + len(corpus.report) == 200 and len(corpus) > 100
    assert abs(len(corpus.audio(corpus[0])) / SAMPLE_RATE - corpus[0].seconds) < 0.05
    assert not any("6" in "".join(u.pinyin) for u in corpus)

@pytest.mark.skipif(not (DATA / "audio-cmn").is_dir(), reason="the real recordings of audio-cmn aren't on this machine")
def test_audio_cmn():
    corpus = load_corpus(DATA / "audio-cmn")
    assert corpus.speakers == ["chen", "tan"] and len(corpus) > 9500 and len(corpus.report) < 100
    assert len(corpus.audio(corpus["w00000"])) > 10_000

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
    from latentspeech.corpora import _share
    class Bar:
        def update(self):
            pass
    with pytest.raises(CorpusError, match="espeak's process failed.*cannot say"):
        _share([dict(tokens=["hng5"], speaker="male", speed=200, pitch=50, silence=(0.1, 0.1), seed=0, id="a")],
               tmp_path, Bar())
