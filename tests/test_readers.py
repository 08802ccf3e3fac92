"Readers: each layout is generated, read back, and damaged in ten ways and more; every refusal names file and line."
import json, re, shutil, tarfile
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, soundfile, torch
from hypothesis import given, settings, strategies as st
from latentspeech.config import CorpusConfig, SAMPLE_RATE
from latentspeech.corpora import Corpus, CorpusError, Utterance, load_corpus, make_embedded_corpus
from latentspeech.espeak import speak_espeak
from latentspeech.layouts import join, open_corpus
from latentspeech.readers import DamagedCorpus, label_phones, read_textgrid, split_of, without_leaks
from latentspeech.shards import prepare
from latentspeech.text import INITIALS, PAUSES, SYMBOLS, to_phones

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

# sounds and labels, made here

def sound(symbols, seconds=0.13, rate=SAMPLE_RATE):
    "Hiss for initials, hum for finals, a faint room for pauses; returns samples and starts."
    draw, n = np.random.default_rng(len(symbols)), round(seconds * rate)
    t, room = np.arange(n) / rate, lambda: draw.normal(0, 1e-4, n)
    hum = sum(0.08 * np.sin(2 * np.pi * 140 * k * t) for k in (1, 2, 3))
    parts = [room() if s in PAUSES else 0.05 * draw.normal(size=n) if s in INITIALS else hum + room() for s in symbols]
    return np.concatenate(parts).astype(np.float32), [i * n / rate for i in range(len(symbols))]

def textgrid(rows, end, name="tier", long=False):
    "Write [(start, end, label)] as Praat does, short or long."
    quoted = [(f"{a:.6f}", f"{b:.6f}", '"' + label.replace('"', '""') + '"') for a, b, label in rows]
    if not long:
        return "\n".join(['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", f"{end:.6f}",
                          "<exists>", "1", '"IntervalTier"',
                          f'"{name}"', "0", f"{end:.6f}", str(len(rows)),
                          *(cell for row in quoted for cell in row)]) + "\n"
    body = "".join(f"        intervals [{i}]:\n            xmin = {a} \n            xmax = {b} \n            "
                   f"text = {c} \n" for i, (a, b, c) in enumerate(quoted, 1))
    return (f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = {end:.6f} \ntiers? '
            '<exists> \nsize = 1 \nitem []: \n    item [1]:\n'
            f'        class = "IntervalTier" \n        name = "{name}" \n        xmin = 0 \n        xmax = '
            f'{end:.6f} \n        intervals: size = {len(rows)} \n{body}')

# Baker

SENTENCES = {  # number -> text, pinyin as written, pinyin as read; written for this test
    "000001": ("今天#1天气#2很好#4。", "jin1 tian1 tian1 qi4 hen2 hao3", None),
    "000002": ("花儿#1开了#4！", "huar1 kai1 le5", None),                                               # merged erhua
    # tone 6
    "000003": ("我想#1你#2，他#1也想你#4。", "wo3 xiang6 ni3 ta1 ye6 xiang6 ni3", "wo3 xiang2 ni3 ta1 ye2 xiang2 ni3"),
    # full-width, English
    "002365": ("这张图#1是Ｐ的#4？", "zhe4 zhang1 tu2 shi4 P IY1 de5", None),
    "008950": ("绿色的#1字#4。", "lv4 se4 de5 zi4", None),
    "009001": ("学校#1在下雪#4。", "xue2 xiao4 zai4 xia4 xue3", None)}

def write_interval(file, symbols, tones, starts, end, encoding="utf8", newline="\n", long=False):
    names = [{"sp": "sp1"}.get(s, f"{s}{t or ''}") for s, t in zip(symbols, tones)]
    text = textgrid(list(zip(starts, [*starts[1:], end], names)), end, file.stem, long)
    file.write_bytes(text.replace("\n", newline).encode(encoding))

def write_baker(folder, encoding="utf8", newline="\n", label_encoding="utf8", long=False):
    for name in ("Wave", "ProsodyLabeling", "PhoneLabeling"):
        (folder / name).mkdir(parents=True)
    lines, truth = [], {}
    for id, (text, written, read) in SENTENCES.items():
        lines += [f"{id}\t{text}", f"\t{written}"]
        phones = to_phones(["sil", *("sp" if p == "P" else "yi1" if p == "IY1" else p
                                     for p in (read or written).split()), "sil"])
        if id == "000003":   # a pause that the speaker made, at the comma
            phones = to_phones("sil wo3 xiang2 ni3 sp ta1 ye2 xiang2 ni3 sil".split())
        samples, starts = sound(phones.symbols)
        soundfile.write(folder / f"Wave/{id}.wav", samples, SAMPLE_RATE)
        write_interval(folder / f"PhoneLabeling/{id}.interval", phones.symbols, phones.tones, starts,
                       len(samples) / SAMPLE_RATE, label_encoding, newline, long)
        truth[id] = phones, starts, samples
    (folder / "ProsodyLabeling/000001-010000.txt").write_bytes((newline.join(lines) + newline).encode(encoding))
    return truth

@pytest.mark.parametrize("form", [dict(), dict(encoding="utf-8-sig"), dict(newline="\r\n"),
                                  dict(encoding="utf-8-sig", newline="\r\n", label_encoding="utf-16"),
                                  dict(label_encoding="utf-16", long=True), dict(long=True, newline="\r\n"),
                                  dict(label_encoding="utf-8-sig")], ids=str)
def test_baker_round_trip(tmp_path, form):
    truth = write_baker(tmp_path / "BZNSYP", **form)
    corpus = open_corpus(tmp_path / "BZNSYP")
    assert corpus.name == "baker"
    assert corpus.speakers == ["baker"]
    assert [u.id for u in corpus] == [i for i in SENTENCES if i != "002365"]
    for u in corpus:
        phones, starts, samples = truth[u.id]
        assert (u.symbols, u.tones, u.pinyin) == (phones.symbols, phones.tones, phones.pinyin)
        assert np.allclose(u.starts, starts, atol=1e-5)
        assert np.allclose(corpus.audio(u), samples, atol=1e-4)
        assert set(u.symbols) <= set(SYMBOLS)
        assert not re.search(r"[#\d\ufeff\r]", u.text)
    assert {u.id: u.split for u in corpus} == {"000001": "train", "000002": "train", "000003": "train",
                                               "008950": "valid", "009001": "test"}
    assert "uar" in corpus["000002"].symbols
    assert corpus["000003"].symbols.count("sp") == 1
    assert corpus["000001"].text == "今天天气很好。"
    line, = corpus.report
    assert re.search(r"000001-010000.txt line 7: left out, holds English", line)

def test_baker_with_the_sound_of_espeak(tmp_path):
    write_baker(tmp_path / "b")
    pinyin = SENTENCES["000001"][1].split()
    audio, starts = speak_espeak(pinyin)
    soundfile.write(tmp_path / "b/Wave/000001.wav", audio, SAMPLE_RATE)
    phones = to_phones(["sil", *pinyin, "sil"])
    write_interval(tmp_path / "b/PhoneLabeling/000001.interval", phones.symbols, phones.tones, starts,
                   len(audio) / SAMPLE_RATE)
    u = open_corpus(tmp_path / "b")["000001"]
    assert np.allclose(u.starts, starts, atol=1e-5) and u.symbols == phones.symbols

def test_baker_without_labels_leaves_the_starts_to_an_aligner(tmp_path):
    write_baker(tmp_path / "b")
    shutil.rmtree(tmp_path / "b/PhoneLabeling")
    corpus = open_corpus(tmp_path / "b")
    assert "no PhoneLabeling" in corpus.report[0]
    assert len(corpus) == 5
    assert all(u.starts is None for u in corpus)
    assert corpus["000003"].pinyin == "wo3 xiang2 ni3 ta1 ye2 xiang2 ni3".split()

@pytest.mark.parametrize("change, count, message", [
    (lambda t: t.replace('"uar1"', '"ua1"'), 4,
     "labels say k where its pinyin says er5"),        # 儿 is nowhere in the labels
    (lambda t: t.replace('"k"', '"pl"'), 4, "the label 'pl'"),
    (lambda t: t.replace('"ai1"', '"ng9"'), 4, "the label 'ng9'"),
    (lambda t: t.replace('"ai1"', '"ai4"'), 5, "kept, but its labels say ai4 where its pinyin says ai1")])
def test_labels_and_text_that_differ_are_told(tmp_path, change, count, message):
    write_baker(tmp_path)
    file = tmp_path / "PhoneLabeling/000002.interval"
    file.write_text(change(file.read_text()))
    corpus = open_corpus(tmp_path)
    line, = [line for line in corpus.report if message in line]
    assert len(corpus) == count and re.search(r"\.(txt|interval) line \d+: ", line)

@pytest.mark.parametrize("merged, separate", [("huar1", "hua1 er5"), ("ger4", "ge4 er5"), ("huir4", "hui4 er5"),
                                              ("zher4", "zhe4 er5"), ("shir4", "shi4 er5")])
def test_separate_and_merged_erhua_agree(tmp_path, merged, separate):
    for written, said in ((separate, merged), (merged, separate), (merged, merged)):
        write_baker(tmp_path / f"{written} {said}")
        folder = tmp_path / f"{written} {said}"
        phones = to_phones(["sil", *said.split(), "kai1", "le5", "sil"])
        samples, starts = sound(phones.symbols)
        soundfile.write(folder / "Wave/000002.wav", samples, SAMPLE_RATE)
        write_interval(folder / "PhoneLabeling/000002.interval", phones.symbols, phones.tones, starts,
                       len(samples) / SAMPLE_RATE)
        file = folder / TEXT
        file.write_text(file.read_text("utf8").replace("huar1", written), "utf8")
        corpus = open_corpus(folder)
        assert corpus["000002"].pinyin == [*said.split(), "kai1", "le5"] and len(corpus.report) == 1

def test_labels_that_stop_early_are_told(tmp_path):
    truth = write_baker(tmp_path)
    soundfile.write(tmp_path / "Wave/000001.wav", np.pad(truth["000001"][2], (0, SAMPLE_RATE)), SAMPLE_RATE)
    corpus = open_corpus(tmp_path)
    assert any("000001.interval" in line and "stop 1.00 s before the sound" in line for line in corpus.report)
    assert "000001" in [u.id for u in corpus]

# damage: a function that does it, then what the refusal must say; {line} numbers are those of the damaged file

TEXT = "ProsodyLabeling/000001-010000.txt"
def lines_of(file):
    return file.read_text("utf8").split("\n")
def edit(name, change):
    "Make damage that edits the lines of a text file."
    def damage(folder):
        (folder / name).write_text("\n".join(change(lines_of(folder / name))), "utf8")
    return damage
def replace_line(name, number, line):
    return edit(name, lambda lines: [*lines[:number - 1], line, *lines[number:]])
def drop_line(name, number):
    return edit(name, lambda lines: [*lines[:number - 1], *lines[number:]])
def insert_line(name, number, line):
    return edit(name, lambda lines: [*lines[:number - 1], line, *lines[number - 1:]])
def write(name, content):
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
def remove(name):
    return lambda folder: (folder / name).unlink()
def recode(name, encoding):
    return lambda folder: (folder / name).write_bytes((folder / name).read_text("utf8").encode(encoding))
def link_out(name):
    def damage(folder):
        shutil.move(folder / name, folder.parent / "outside.wav")
        (folder / name).symlink_to(folder.parent / "outside.wav")
    return damage
def cut_sound(name):
    def damage(folder):
        samples, rate = soundfile.read(folder / name)
        soundfile.write(folder / name, samples[:len(samples) // 2], rate)
    return damage
HTML = "<!DOCTYPE html><html><body>404 not found</body></html>"

BAKER_DAMAGE = {
    "text in another encoding": (recode(TEXT, "gb18030"), TEXT, 1, "isn't UTF-8"),
    "no pinyin in the middle": (drop_line(TEXT, 4), TEXT, 3, "no pinyin"),
    "no pinyin at the end": (edit(TEXT, lambda lines: lines[:11]), TEXT, 11, "no pinyin"),
    "an empty pinyin": (replace_line(TEXT, 2, "\t "), TEXT, 1, "no pinyin"),
    "a number twice": (edit(TEXT, lambda lines: [*lines[:2], lines[0], *lines[3:]]), TEXT, 3, "again"),
    "no tab": (replace_line(TEXT, 5, "000003 我想你。"), TEXT, 5, "not a number of six digits"),
    "a number that is a path": (replace_line(TEXT, 5, "../003\t我想你。"), TEXT, 5, "not a number of six digits"),
    "an empty text file": (write(TEXT, ""), TEXT, 1, "not a number of six digits"),
    "no sound": (remove("Wave/000002.wav"), TEXT, 3, "Wave/000002.wav is missing"),
    "a sound too many": (lambda f: shutil.copy(f / "Wave/000001.wav", f / "Wave/000009.wav"), TEXT, 13,
                         "tell about Wave/000009.wav"),
    "labels too many": (lambda f: shutil.copy(f / "PhoneLabeling/000001.interval",
                                              f / "PhoneLabeling/000009.interval"), TEXT, 13,
                        "tell about PhoneLabeling/000009"),
    "a web page for a sound": (write("Wave/000002.wav", HTML), TEXT, 3, "is none"),
    "an empty sound": (write("Wave/000002.wav", ""), TEXT, 3, "is none"),
    "a link that leads out": (link_out("Wave/000002.wav"), TEXT, 3, "leads out"),
    "a sound cut short": (cut_sound("Wave/000001.wav"), "PhoneLabeling/000001.interval", 13 + 3 * 13, "cut short"),
    "no labels": (remove("PhoneLabeling/000003.interval"), TEXT, 5, "PhoneLabeling/000003.interval is missing"),
    "a web page for labels": (write("PhoneLabeling/000003.interval", HTML), "PhoneLabeling/000003.interval", 1,
                              "'the end' where a text"),
    "empty labels": (write("PhoneLabeling/000003.interval", ""), "PhoneLabeling/000003.interval", 1, "'the end'"),
    "labels of another kind": (replace_line("PhoneLabeling/000003.interval", 2, 'Object class = "PitchTier"'),
                               "PhoneLabeling/000003.interval", 1, "no TextGrid"),
    "points for intervals": (replace_line("PhoneLabeling/000003.interval", 8, '"TextTier"'),
                             "PhoneLabeling/000003.interval", 8, "only intervals"),
    "labels cut short": (edit("PhoneLabeling/000003.interval", lambda lines: lines[:20]),
                         "PhoneLabeling/000003.interval", 20, "'the end' where"),
    "a label without quotes": (replace_line("PhoneLabeling/000003.interval", 18, "uo3"),
                               "PhoneLabeling/000003.interval", 19, "where a text belongs"),
    "a broken number": (replace_line("PhoneLabeling/000003.interval", 17, "0.2x6"), "PhoneLabeling/000003.interval",
                        18, "where a number belongs"),
    "a gap": (edit("PhoneLabeling/000003.interval", lambda lines: [*lines[:15], *lines[18:]]),
              "PhoneLabeling/000003.interval", 16, "the one before ends"),
    "an interval that ends before it starts": (replace_line("PhoneLabeling/000003.interval", 17, "0.05"),
                                               "PhoneLabeling/000003.interval", 17, "not after its start"),
    "a wrong count": (replace_line("PhoneLabeling/000003.interval", 12, "3"), "PhoneLabeling/000003.interval", 8,
                      "promises intervals until"),
    "labels in no encoding": (write("PhoneLabeling/000003.interval", b'File type = "oo\xff\xe4"\n'),
                              "PhoneLabeling/000003.interval", 1, "neither UTF-8 nor UTF-16"),
    "labels of nothing": (write("PhoneLabeling/000003.interval", textgrid([], 0)), "PhoneLabeling/000003.interval",
                          1, "labels nothing"),
    "two text files": (lambda f: shutil.copy(f / TEXT, f / "ProsodyLabeling/copy.txt"), "ProsodyLabeling", None,
                       "holds 2 texts")}

# AISHELL-3

AISHELL = {"train": ["SSB00050001.wav\t你 ni3 们 men5 好 hao3", "SSB00050002.wav\t女 nv3 儿 er2",
                     "SSB00110001.wav\t学 xue2 校 xiao4"],
           "test": ["SSB00050353.wav\t再 zai4 见 jian4", "SSB07100001.wav\t下 xia4 雪 xue3 了 le5"]}
TRAIN = "train/content.txt"

def write_aishell(folder, encoding="utf8", newline="\n"):
    for part, rows in AISHELL.items():
        for row in rows:
            file = folder / part / "wav" / row[:7] / row.split("\t")[0]
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, sound(to_phones(["sil", *row.split()[2::2], "sil"]).symbols, rate=44_100)[0], 44_100)
        (folder / part / "content.txt").write_bytes((newline.join(rows) + newline).encode(encoding))

@pytest.mark.parametrize("form", [dict(), dict(encoding="utf-8-sig"), dict(newline="\r\n")], ids=str)
def test_aishell3_round_trip(tmp_path, form):
    write_aishell(tmp_path, **form)
    corpus = open_corpus(tmp_path)
    assert corpus.name == "aishell3" and corpus.speakers == ["SSB0005", "SSB0011", "SSB0710"] and not corpus.report
    assert [u.id for u in corpus.split("test")] == ["SSB00050353", "SSB07100001"] and len(corpus) == 5
    u = corpus["SSB00050001"]
    assert (u.text, u.pinyin, u.symbols, u.starts) == ("你们好", ["ni3", "men5", "hao3"],
                                                       ["sil", "n", "i", "m", "en", "h", "ao", "sil"], None)
    assert len(corpus.audio(u)) == round(u.seconds * SAMPLE_RATE) and abs(u.seconds - 8 * 0.13) < 1e-3

AISHELL_DAMAGE = {
    "text in another encoding": (recode(TRAIN, "gb18030"), TRAIN, 1, "isn't UTF-8"),
    "no tab": (replace_line(TRAIN, 2, "SSB00050002.wav 女 nv3"), TRAIN, 2, "not the name of a sound"),
    "a path for a name": (replace_line(TRAIN, 2, "../SSB00050002.wav\t女 nv3"), TRAIN, 2, "not the name of a sound"),
    "an empty line": (insert_line(TRAIN, 2, ""), TRAIN, 2, "not the name"),
    "no text": (replace_line(TRAIN, 2, "SSB00050002.wav\t"), TRAIN, 2, "not the name of a sound"),
    "a character without pinyin": (replace_line(TRAIN, 1, "SSB00050001.wav\t你 们 men5 好 hao3"), TRAIN, 1, "see '们'"),
    "pinyin without a tone": (replace_line(TRAIN, 1, "SSB00050001.wav\t你 ni 们 men5 好 hao3"), TRAIN, 1, "see 'ni'"),
    "a last character without pinyin": (replace_line(TRAIN, 1, "SSB00050001.wav\t你 ni3 们 men5 好"), TRAIN, 1,
                                        "see ''"),
    "a name twice": (insert_line(TRAIN, 3, AISHELL["train"][0]), TRAIN, 3, "again"),
    "a name in train and test": (insert_line("test/content.txt", 2, AISHELL["train"][0]), "test/content.txt", 2,
                                 "again"),
    "no sound": (remove("train/wav/SSB0005/SSB00050002.wav"), TRAIN, 2, "SSB00050002.wav is missing"),
    "a sound too many": (drop_line(TRAIN, 2), TRAIN, 3, "tell about train/wav/SSB0005/SSB00050002.wav"),
    "another speaker's folder": (lambda f: shutil.move(f / "train/wav/SSB0011", f / "train/wav/SSB0012"), TRAIN, 3,
                                 "is missing"),
    "a web page for a sound": (write("train/wav/SSB0005/SSB00050002.wav", HTML), TRAIN, 2, "is none"),
    "a link that leads out": (link_out("train/wav/SSB0005/SSB00050002.wav"), TRAIN, 2, "leads out"),
    "no test": (remove("test/content.txt"), "test/content.txt", 1, "is missing")}

# LJSpeech

LJ = ['LJ001-0001|On page 2, "he said|On page two, "he said', "LJ001-0002|Dr. Smith came.|Doctor Smith came.",
      "LJ050-0003|It rained.|It rained."]

def write_lj(folder, encoding="utf8", newline="\n"):
    (folder / "wavs").mkdir(parents=True)
    for row in LJ:
        soundfile.write(folder / "wavs" / f"{row[:10]}.wav", sound(["sil", "a", "sil"], 0.4, 22_050)[0], 22_050)
    (folder / "metadata.csv").write_bytes((newline.join(LJ) + newline).encode(encoding))

@pytest.mark.parametrize("form", [dict(), dict(encoding="utf-8-sig"), dict(newline="\r\n")], ids=str)
def test_ljspeech_round_trip(tmp_path, form):
    write_lj(tmp_path, **form)
    with pytest.raises(DamagedCorpus, match="metadata.csv line 1 is English, and the voice of"):
        open_corpus(tmp_path)
    corpus = open_corpus(tmp_path, sounds=True)
    assert corpus.layout == "list" and not corpus.lost
    assert [u.text for u in corpus] == ['On page two, "he said', "Doctor Smith came.", "It rained."]
    assert all(not u.symbols and u.starts is None and u.split == split_of(u.text) for u in corpus)
    assert len(corpus.report) == 3 and all("kept for its sound alone, is English" in line for line in corpus.report)
    assert len(corpus.audio(corpus[0])) == round(1.2 * SAMPLE_RATE)

CSV = "metadata.csv"
LJ_DAMAGE = {
    "text in another encoding": (lambda f: (f / CSV).write_bytes(b"LJ001-0001|a|caf\xe9\n"), CSV, 1, "isn't UTF-8"),
    "a column less": (replace_line(CSV, 2, "LJ001-0002|Dr. Smith came."), CSV, 2, "has 2 columns"),
    "a column more": (replace_line(CSV, 2, "LJ001-0002|a|b|c"), CSV, 2, "has 4 columns"),
    "an empty line": (insert_line(CSV, 2, ""), CSV, 2, "has 1 columns"),
    "a path for an id": (replace_line(CSV, 2, "../LJ|a|b"), CSV, 2, "has no sound: ../LJ is missing"),
    "no id": (replace_line(CSV, 2, "|a|b"), CSV, 2, "has no sound"),
    "an id twice": (insert_line(CSV, 3, LJ[0]), CSV, 3, "again"),
    "no text as read": (replace_line(CSV, 2, "LJ001-0002|Dr. Smith came.| "), CSV, 2, "has no text for LJ001-0002.wav"),
    "no sound": (remove("wavs/LJ001-0002.wav"), CSV, 2, "LJ001-0002 is missing"),
    "a sound too many": (drop_line(CSV, 2), CSV, 3, "tell about wavs/LJ001-0002.wav"),
    "a web page for a sound": (write("wavs/LJ001-0002.wav", HTML), CSV, 2, "is none"),
    "a link that leads out": (link_out("wavs/LJ001-0002.wav"), CSV, 2, "leads out"),
    "a comma for the bar": (edit(CSV, lambda lines: [line.replace("|", ",") for line in lines]), CSV, 1,
                            "is in no layout that is read here")}
OPTIONS = {"ljspeech": dict(sounds=True)}     # English: its sounds alone

# tables: a plain folder, and the layouts of magicdata-cs and audio-cmn

TABLES = {
    "plain": ("metadata", False, ["id\ttext", "a1\t你好，世界。", "a2\t再见。", "a3\t下雨了。"]),
    "magicdata": ("sentences", True, ["id\ttext\tpinyin\tspeaker\tseconds\tsplit",
                                      "100001\t你好#1，世界#4。\tni6 hao3 shi4 jie4\tmagic\t1.3\ttrain",
                                      "100002\t再见#4。\tzai4 jian4\tmagic\t1.3\ttest",
                                      "100003\t说#1VIP#4。\tshuo1 / V IY1 . AY1 . P IY1 /\tmagic\t1.3\ttrain"]),
    "audio-cmn": ("words", True, ["id\ttext\tspeaker\tseconds\tsplit", "w00000\t世界\ttan\t1.3\ttrain",
                                  "w00001\t一…也…\ttan\t1.3\ttrain", "w00002\t下雪\ttan\t1.3\tvalid"])}

def write_table(folder, layout, encoding="utf8", newline="\n"):
    name, packed, rows = TABLES[layout]
    folder.mkdir(exist_ok=True, parents=True)
    kind, rate = ("opus", 24_000) if packed else ("wav", 48_000)
    samples, files = sound(["sil", *"aaaaaaaa", "sil"], rate=rate)[0], []
    for row in rows[1:]:
        files.append(folder / f"{row.split(chr(9))[0]}.{kind}")
        soundfile.write(files[-1], samples, rate, **(dict(format="OGG", subtype="OPUS") if packed else {}))
    if packed:
        with tarfile.open(folder / f"{name}.tar", "w") as tar:
            for file in files:
                tar.add(file, file.name)
                file.unlink()
    (folder / f"{name}.tsv").write_bytes((newline.join(rows) + newline).encode(encoding))

@pytest.mark.parametrize("form", [dict(), dict(encoding="utf-8-sig"), dict(newline="\r\n")], ids=str)
@pytest.mark.parametrize("layout", TABLES)
def test_tables_round_trip(tmp_path, layout, form):
    write_table(tmp_path, layout, **form)
    corpus = open_corpus(tmp_path)
    texts = {"plain": ["你好，世界。", "再见。", "下雨了。"], "magicdata": ["你好，世界。", "再见。"],
             "audio-cmn": ["世界", "下雪"]}[layout]
    assert [u.text for u in corpus] == texts
    assert len(corpus.report) == 3 - len(texts)
    assert all("line" in line for line in corpus.report)
    assert corpus[0].pinyin[:2] == (["shi4", "jie4"] if layout == "audio-cmn" else ["ni2", "hao3"])
    assert abs(len(corpus.audio(corpus[0])) / SAMPLE_RATE - 1.3) < 0.03

def table_damage(layout):
    name, packed, rows = TABLES[layout]
    table, archive, cells = f"{name}.tsv", f"{name}.tar", rows[1].split("\t")
    def row(**new):
        return "\t".join(new.get(column, cell) for column, cell in zip(rows[0].split("\t"), cells))
    last = rows[3].split("\t")[0]
    damage = {
        "another encoding": (recode(table, "gb18030"), table, 2, "isn't UTF-8"),
        "no header": (drop_line(table, 1), table, 1, "must name the columns"),
        "a column less": (replace_line(table, 3, rows[2].rsplit("\t", 1)[0]), table, 3, "columns, the header"),
        "a column more": (replace_line(table, 3, rows[2] + "\tx"), table, 3, "columns, the header"),
        "an empty line": (insert_line(table, 3, ""), table, 3, "has 1 columns"),
        "an id twice": (insert_line(table, 4, rows[1]), table, 4, "again"),
        "a path for an id": (replace_line(table, 2, row(id="../a1")), table, 2, "has id '../a1'"),
        "an empty id": (replace_line(table, 2, row(id="")), table, 2, "has id ''"),
        "an empty table": (write(table, ""), table, 1, "must name the columns"),
        "a header alone": (write(table, rows[0]), "", None, "no utterance that can be used"),
        "two tables with one id": (lambda f: [shutil.copy(old, old.with_stem("more"))
                                              for old in (f / table, f / archive) if old.exists()], "", None,
                                   "share the id")}
    if "split" in rows[0]:
        damage["an unknown split"] = (replace_line(table, 2, row(split="dev")), table, 2, "has split 'dev'")
    def add(name, **facts):
        def change(folder):
            with tarfile.open(folder / archive, "a") as tar:
                info = tarfile.TarInfo(name)
                for key, value in facts.items():
                    setattr(info, key, value)
                tar.addfile(info)
        return change
    if packed:
        damage |= {
            "an archive with a path": (add("../x.opus"), archive, None, "'../x.opus'"),
            "an archive with a link": (add("x.opus", type=tarfile.SYMTYPE, linkname="/etc/passwd"), archive, None,
                                       "'x.opus'"),
            "a sound twice": (add(f"{last}.opus"), archive, None, "doubled"),
            "a web page for an archive": (write(archive, HTML), archive, None, "no tar archive"),
            "an archive cut short": (lambda f: (f / archive).write_bytes((f / archive).read_bytes()[:2000]),
                                     archive, None, "cut short")}
    else:
        damage |= {
            "a link that leads out": (link_out("a1.wav"), "a1.wav", None, "leads out"),
            "a sound twice": (lambda f: shutil.copy(f / "a1.wav", f / "a1.flac"), "a1.wav", None, "share an id")}
    return damage

# one table, its rows, sounds and archive

ROWS = ["id\ttext\tpinyin\tspeaker\tseconds\tsplit", "a1\t你好#1，世界#4。\tni6 hao3 shi4 jie4\tann\t0.5\ttrain",
        "a2\t再见。\tzai4 jian4\tbob\t0.5\ttest"]

def write_rows(folder, rows=ROWS, ids=("a1", "a2"), archive=True, suffix="flac", encoding="utf8", end="\n",
               rate=24_000):
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
def test_a_table_of_two_rows_round_trips(tmp_path, archive, form):
    (tmp_path / "c").mkdir()
    corpus = open_corpus(write_rows(tmp_path / "c", archive=archive, **form))
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
def test_a_damaged_row_is_refused(tmp_path, line, text, message):
    rows = list(ROWS) + ["a3\t好。\thao3\tann\t0.5\ttrain"]
    rows[line - 1] = text
    with pytest.raises(CorpusError, match=message):
        open_corpus(write_rows(tmp_path, rows))

def test_table_not_utf8(tmp_path):
    with pytest.raises(CorpusError, match="line 2 isn't UTF-8"):
        open_corpus(write_rows(tmp_path, encoding="gb18030"))

@pytest.mark.parametrize("kind", ["parent", "link", "doubled", "text", "cut"])
def test_hostile_archives(tmp_path, kind):
    write_rows(tmp_path)
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
        open_corpus(tmp_path)

def test_rows_may_be_kept_for_their_sound_alone(tmp_path):
    rows = ROWS + ["a3\tVIP\t/ V IY1 /\tann\t0.5\ttrain", "a4\t一…也…\t\tann\t0.5\ttrain"]
    folder = write_rows(tmp_path, rows, ids=("a1", "a2", "a3", "a4"))
    assert [u.id for u in open_corpus(folder)] == ["a1", "a2"]
    corpus = open_corpus(folder, sounds=True)
    assert [u.id for u in corpus] == ["a1", "a2", "a3", "a4"]
    assert corpus["a3"].pinyin == corpus["a3"].symbols == corpus["a4"].tones == []
    assert len(corpus.audio(corpus["a3"])) == SAMPLE_RATE // 2
    assert sum("for its sound alone" in line for line in corpus.report) == 2

def test_rows_left_out_are_reported(tmp_path):
    rows = ROWS + ["a3\tVIP\t/ V IY1 /\tann\t0.5\ttrain", "a4\t好。\thao9\tann\t0.5\ttrain",
                   "a5\t好。\thao3\tann\t0.5\ttrain"]
    corpus = open_corpus(write_rows(tmp_path, rows, ids=("a1", "a2", "a3", "a4", "b9")))
    assert len(corpus) == 2 and len(corpus.report) == 4
    assert [any(x in line for line in corpus.report) for x in ("English", "hao9", "no sound", "b9")] == [True] * 4

def test_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "c").mkdir()
    write_rows(tmp_path / "c", archive=False)
    (tmp_path / "secret.wav").write_bytes(b"x")
    (tmp_path / "c" / "a3.wav").symlink_to(tmp_path / "secret.wav")
    with pytest.raises(CorpusError, match="leads out"):
        open_corpus(tmp_path / "c")

@pytest.mark.skipif(not (DATA / "magicdata-cs").is_dir(),
                    reason="the real recordings of magicdata-cs aren't on this machine")
def test_magicdata():
    corpus = open_corpus(DATA / "magicdata-cs")
    assert len(corpus) + len(corpus.report) == 200 and len(corpus) > 100
    assert abs(len(corpus.audio(corpus[0])) / SAMPLE_RATE - corpus[0].seconds) < 0.05
    assert not any("6" in "".join(u.pinyin) for u in corpus)

@pytest.mark.skipif(not (DATA / "audio-cmn").is_dir(), reason="the real recordings of audio-cmn aren't on this machine")
def test_audio_cmn():
    corpus = open_corpus(DATA / "audio-cmn")
    assert corpus.speakers == ["chen", "tan"] and len(corpus) > 9500 and len(corpus.report) < 100
    assert len(corpus.audio(corpus["w00000"])) > 10_000

# the embedded corpus, and shards of a corpus

@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    "Every layout, made once; tests copy what they damage."
    root = tmp_path_factory.mktemp("layouts")
    write_baker(root / "baker")
    write_aishell(root / "aishell3")
    write_lj(root / "ljspeech")
    for layout in TABLES:
        write_table(root / layout, layout)
    make_embedded_corpus(root / "embedded", CorpusConfig(utterances=6, valid=1, test=1, seed=3), progress=False)
    prepare(open_corpus(root / "embedded"), root / "shards", size=2, progress=False)
    return root

def manifest(change):
    "Make damage of one utterance in the manifest of the embedded corpus."
    def damage(folder):
        data = json.loads((folder / "manifest.json").read_text("utf8"))
        change(data, data["utterances"][2])
        (folder / "manifest.json").write_text(json.dumps(data, ensure_ascii=False, indent=0), "utf8")
    return damage

MANIFEST_DAMAGE = {
    "an empty manifest": (write("manifest.json", ""), 1, "Expecting value"),
    "a web page": (write("manifest.json", HTML), 1, "Expecting value"),
    "a manifest cut short": (edit("manifest.json", lambda lines: lines[:40]), 40, "Expecting"),
    "a list": (write("manifest.json", "[]"), 1, "indices"),
    "no utterances": (write("manifest.json", '{\n"name": "x"}'), 1, "utterances"),
    "a field too many": (manifest(lambda data, u: u.update(colour="red")), 0, "colour"),
    "a field less": (manifest(lambda data, u: u.pop("speaker")), 0, "speaker"),
    "a path that leads out": (manifest(lambda data, u: u.update(path="audio/../../x.flac")), 0, "path"),
    "an unknown split": (manifest(lambda data, u: u.update(split="dev")), 0, "dev"),
    "an id twice": (manifest(lambda data, u: u.update(id=data["utterances"][1]["id"])), 1, "again"),
    "an id with a path": (manifest(lambda data, u: u.update(id="../x")), 0, "id"),
    "labels of different lengths": (manifest(lambda data, u: u["tones"].pop()), 0, "lengths"),
    "starts that go back": (manifest(lambda data, u: u["starts"].reverse()), 0, "go back"),
    "starts beyond the end": (manifest(lambda data, u: u.update(seconds=u["starts"][-1])), 0, "beyond"),
    "a name with a path": (manifest(lambda data, u: data.update(name="../../x")), 1, "is no name for a corpus"),
    "a place in an archive": (manifest(lambda data, u: u.update(member=[0, 10 ** 12])), 0, "no place in an archive"),
    "a small place in an archive": (manifest(lambda data, u: u.update(member=[0, 10])), 0, "path"),
    "endless": (manifest(lambda data, u: u.update(seconds=float("inf"))), 0, "inf seconds"),
    "a tone in words": (manifest(lambda data, u: u.update(tones=["x"] * len(u["tones"]))), 0, "tones is"),
    "brackets without end": (write("manifest.json", "[" * 100_000), 1, "recursion"),
    "no length": (manifest(lambda data, u: u.update(seconds=0)), 0, "seconds"),
    "a length in words": (manifest(lambda data, u: u.update(seconds="long")), 0, "seconds is 'long'")}

@pytest.mark.parametrize("kind", MANIFEST_DAMAGE)
def test_damaged_embedded_corpus(templates, tmp_path, kind):
    folder = shutil.copytree(templates / "embedded", tmp_path / "c")
    damage, line, message = MANIFEST_DAMAGE[kind]
    damage(folder)
    with pytest.raises(CorpusError) as caught:
        open_corpus(folder)
    text = str(caught.value)
    number = int(re.search(r"manifest.json is damaged in line (\d+)", text)[1])
    assert message in text and "\n" not in text
    if line:
        assert number == line or kind == "an id twice"
    if line == 0:   # the line of the utterance itself
        id = json.loads((folder / "manifest.json").read_text("utf8"))["utterances"][2]["id"]
        assert id in lines_of(folder / "manifest.json")[number - 1]

def test_an_embedded_corpus_in_another_encoding(templates, tmp_path):
    folder = shutil.copytree(templates / "embedded", tmp_path / "c")
    first = lines_of(folder / "manifest.json")
    recode("manifest.json", "gb18030")(folder)
    line = next(i for i, text in enumerate(first, 1) if not text.isascii())
    with pytest.raises(CorpusError, match=f"manifest.json line {line} isn't UTF-8"):
        open_corpus(folder)

def test_embedded_round_trip(templates):
    corpus = open_corpus(templates / "embedded")
    assert len(corpus) == 6
    assert corpus.name == "embedded"
    assert not corpus.verify()
    assert corpus[0] == load_corpus(templates / "embedded")[0]

INDEX = "train-00000.json"
def row(change):
    def damage(folder):
        lines = lines_of(folder / INDEX)
        end = "," if lines[2].endswith(",") else ""
        data = json.loads(lines[2].rstrip(","))
        change(data)
        replace_line(INDEX, 3, json.dumps(data, ensure_ascii=False) + end)(folder)
    return damage

SHARD_DAMAGE = {
    "an empty list": (write("shards.json", ""), "shards.json", 1, "Expecting value"),
    "a web page for the list": (write("shards.json", HTML), "shards.json", 1, "Expecting value"),
    "a shard with a path": (
        write("shards.json", '{"name": "x", "report": [], "shards": [\n"../train-00000"]}'),
        "shards.json",
        2,
        "shard '../train-00000'",
    ),
    "no name": (write("shards.json", '{"report": [], "shards": []}'), "shards.json", 1, "name"),
    "no index": (remove(INDEX), INDEX, 1, "No such file"),
    "an index cut short": (edit(INDEX, lambda lines: lines[:2]), INDEX, 2, "Expecting"),
    "an index in another encoding": (recode(INDEX, "utf-16"), INDEX, 1, "isn't UTF-8"),
    "no archive": (remove("train-00000.tar"), INDEX, 1, "No such file"),
    "an archive cut short": (
        lambda f: (f / "train-00000.tar").write_bytes((f / "train-00000.tar").read_bytes()[:-512]),
        INDEX,
        1,
        "bytes",
    ),
    "a field too many": (row(lambda u: u.update(colour=1)), INDEX, 3, "colour"),
    "labels of different lengths": (row(lambda u: u["tones"].pop()), INDEX, 3, "lengths"),
    "starts that go back": (row(lambda u: u["starts"].reverse()), INDEX, 3, "go back"),
    "a place outside the archive": (row(lambda u: u.update(member=[512, 1 << 27])), INDEX, 3, "outside"),
    "a place beyond all bounds": (row(lambda u: u.update(member=[0, 10 ** 12])), INDEX, 3, "no place in an archive"),
    "a name with a path": (edit("shards.json", lambda lines: [line.replace('"embedded"', '"../x"') for line in lines]),
                           "shards.json", 1, "is no name for a corpus"),
    "brackets without end": (write("shards.json", "[" * 100_000), "shards.json", 1, "recursion"),
    "brackets without end in an index": (write(INDEX, "[" * 100_000), INDEX, 1, "recursion"),
    "no place": (row(lambda u: u.update(member=None)), INDEX, 3, "NoneType"),
    "an id twice": (
        edit(INDEX, lambda lines: [lines[0], lines[1], lines[1].rstrip(","), *lines[3:]]),
        INDEX,
        2,
        "doubled",
    ),
    "an id of another kind": (row(lambda u: u.update(id=7)), INDEX, None, "id is '7'"),
}

@pytest.mark.parametrize("kind", SHARD_DAMAGE)
def test_damaged_shards(templates, tmp_path, kind):
    folder = shutil.copytree(templates / "shards", tmp_path / "c")
    refuse(folder, *SHARD_DAMAGE[kind])

def refuse(folder, damage, file, line, message, **options):
    damage(folder)
    with pytest.raises(CorpusError) as caught:
        open_corpus(folder, **options)
    text = str(caught.value)
    assert "\n" not in text and file in text and message in text, text
    assert line is None or f"{folder / file} line {line} " in text, text

CASES = [(layout, kind) for layout, table in (("baker", BAKER_DAMAGE), ("aishell3", AISHELL_DAMAGE),
                                              ("ljspeech", LJ_DAMAGE), *((l, table_damage(l)) for l in TABLES))
         for kind in table]

@pytest.mark.parametrize("layout, kind", CASES)
def test_damage_is_refused_with_file_and_line(templates, tmp_path, layout, kind):
    folder = shutil.copytree(templates / layout, tmp_path / "c")
    options = OPTIONS.get(layout, {})
    assert len(open_corpus(folder, **options)) > 1          # whole, until the next line
    table = {"baker": BAKER_DAMAGE, "aishell3": AISHELL_DAMAGE,
             "ljspeech": LJ_DAMAGE}.get(layout) or table_damage(layout)
    refuse(folder, *table[kind], **options)

def test_each_reader_refuses_at_least_ten_kinds():
    counts = {layout: sum(l == layout for l, _ in CASES) for layout in ("baker", "aishell3", "ljspeech", *TABLES)}
    assert min(*counts.values(), len(MANIFEST_DAMAGE), len(SHARD_DAMAGE)) >= 10, counts

@pytest.mark.parametrize("layout, kind, left", [("baker", "no sound", 4), ("baker", "a gap", 4),
                                                ("aishell3", "no sound", 4), ("ljspeech", "an id twice", 3)])
def test_damage_can_be_left_out_and_is_told(templates, tmp_path, layout, kind, left):
    folder = shutil.copytree(templates / layout, tmp_path / "c")
    damage, file, line, message = {"baker": BAKER_DAMAGE, "aishell3": AISHELL_DAMAGE,
                                   "ljspeech": LJ_DAMAGE}[layout][kind]
    damage(folder)
    corpus = open_corpus(folder, strict=False, **OPTIONS.get(layout, {}))
    assert len(corpus) == left and corpus.lost == 1
    assert any(message in told and f"line {line} " in told and told.endswith("left out") for told in corpus.report)

def test_all_troubles_are_counted(templates, tmp_path):
    folder = shutil.copytree(templates / "ljspeech", tmp_path / "c")
    for file in (folder / "wavs").iterdir():
        file.unlink()
    with pytest.raises(DamagedCorpus, match=r"line 1 has no sound.*\(2 more damages; strict=False") as caught:
        open_corpus(folder, sounds=True)
    assert (caught.value.file, caught.value.line) == (folder / CSV, 1)
    with pytest.raises(CorpusError, match="no utterance that can be used"):
        open_corpus(folder, strict=False, sounds=True)

def test_a_folder_that_is_none_and_one_too_high(tmp_path):
    with pytest.raises(CorpusError, match="no folder"):
        open_corpus(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="is no corpus"):
        open_corpus(tmp_path)
    write_lj(tmp_path / "LJSpeech-1.1")
    with pytest.raises(CorpusError, match="LJSpeech-1.1 may be one"):
        open_corpus(tmp_path)

# label files

GOOD = textgrid([(0, 0.1, "sil"), (0.1, 0.25, "n"), (0.25, 0.5, 'say "ah"'), (0.5, 0.7, "")], 0.7)

@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.sampled_from(["flip", "drop", "insert", "cut"]))
@settings(max_examples=150, deadline=None)
def test_a_damaged_label_file_reads_or_is_refused(tmp_path_factory, at, byte, kind):
    data = bytearray(GOOD.encode())
    if kind == "flip":
        data[at] = byte
    if kind == "drop":
        del data[at]
    if kind == "insert":
        data.insert(at, byte)
    if kind == "cut":
        del data[at:]
    file = tmp_path_factory.getbasetemp() / "fuzzed.TextGrid"
    file.write_bytes(data)
    try:
        rows = next(iter(read_textgrid(file).values()))
    except DamagedCorpus as e:
        assert e.line >= 0 and "\n" not in str(e)
    else:
        assert all(a < b for a, b, *_ in rows) and all(abs(x[1] - y[0]) <= 1e-3 for x, y in zip(rows, rows[1:]))

def test_label_files_keep_quotes_tiers_and_lines(tmp_path):
    file = tmp_path / "a.TextGrid"
    file.write_text(GOOD)
    assert read_textgrid(file) == {"tier": [(0, 0.1, "sil", 13), (0.1, 0.25, "n", 16), (0.25, 0.5, 'say "ah"', 19),
                                            (0.5, 0.7, "", 22)]}
    two = GOOD.replace("<exists>\n1\n", "<exists>\n2\n") + GOOD.split("<exists>\n1\n")[1].replace('"tier"', '"words"')
    file.write_text(two)
    assert list(read_textgrid(file)) == ["tier", "words"]

def test_every_phone_has_a_label_that_gives_it_back():
    from latentspeech.corpora import common_syllables
    for p in [*common_syllables(), "huar1", "huir4", "nar3", "yo5", "m2", "ng4"]:
        phones = to_phones([p])
        labels = [f"{s}{t or ''}" for s, t in zip(phones.symbols, phones.tones)]
        assert label_phones(labels) == list(zip(phones.symbols, phones.tones)), p
    assert label_phones(["a6"]) == [("a", 2)]

# splits

def test_splits_depend_on_words_alone():
    for a, b in (("你好，世界。", "你好 世界！"), ("Hello, World.", "hello world"), ("Ｐ图", "P图")):
        assert split_of(a) == split_of(b)
    names = [split_of(f"sentence {i}", 0.1, 0.2) for i in range(3000)]
    assert abs(names.count("test") / 3000 - 0.2) < 0.03 and abs(names.count("valid") / 3000 - 0.1) < 0.03
    assert split_of("anything", 0, 0) == "train" and split_of("anything", 0, 1) == "test"
    grown = [n for n, wide in zip(names, (split_of(f"sentence {i}", 0.1, 0.4) for i in range(3000))) if n == "test"
             and wide != "test"]
    assert not grown      # a larger test keeps the smaller one

def test_leaks_are_left_out_of_train_and_valid():
    rows = [Utterance(f"u{i}", text, [], "s", split, Path("x"), 1.0) for i,
            (text, split) in enumerate([("你好。", "train"), ("再见", "train"), ("你好！", "test"), ("你好", "valid")])]
    clean = without_leaks(Corpus(".", "x", rows))
    assert [u.id for u in clean] == ["u1", "u2"] and len(clean.report) == 2

# real recordings, where there are any

@pytest.mark.skipif(not DATA.is_dir(),
                    reason="the real recordings of magicdata-cs and audio-cmn aren't on this machine")
@pytest.mark.parametrize("name, least", [("magicdata-cs", 100), ("audio-cmn", 9_500)])
def test_real_tables_open_through_the_same_door(name, least):
    corpus = open_corpus(DATA / name)
    assert len(corpus) > least
    assert all(" line " in told for told in corpus.report)
    assert {u.split for u in corpus} == {"train", "valid", "test"}
    for u in list(corpus)[::len(corpus) // 4]:
        assert abs(len(corpus.audio(u)) / SAMPLE_RATE - u.seconds) < 0.05


def test_joined_corpora_keep_every_utterance_and_its_sound():
    made = [make_embedded_corpus(config=CorpusConfig(utterances=n, valid=2, test=2, seed=s, test_seed=s + 7),
                                 progress=False) for n, s in ((8, 0), (9, 1))]
    with pytest.raises(CorpusError, match="share the id"):
        join([made[0], made[0]])
    renamed = Corpus(made[1].folder, "other", [replace(u, id=f"b-{u.id}", speaker="ann") for u in made[1]],
                     report=["a remark"])
    both = join([made[0], renamed])
    assert (len(both), both.name, both.report, both.speakers) == (17, "embedded + other", ["a remark"],
                                                                  ["ann", "female", "male"])
    u = renamed.split("test")[0]
    assert np.array_equal(both.audio(both[u.id]), renamed.audio(u)) and join([made[0]]) is made[0]


def test_a_folder_of_sounds_needs_no_text(tmp_path):
    for name in ("ann/a1.wav", "ann/a2.flac", "bob/b1.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, sound(["sil", "a"])[0], SAMPLE_RATE)
    with pytest.raises(CorpusError, match="is no corpus"):
        open_corpus(tmp_path)
    corpus = open_corpus(tmp_path, sounds=True)
    assert [(u.id, u.speaker, u.text, u.pinyin, u.symbols)
            for u in corpus] == [("a1", "ann", "", [], []), ("a2", "ann", "", [], []), ("b1", "bob", "", [], [])]
    assert len(prepare(corpus, tmp_path / "packed", progress=False)) == 3
    soundfile.write(tmp_path / "bob/b 2.wav", sound(["a"])[0], SAMPLE_RATE)
    with pytest.raises(DamagedCorpus, match="rename it"):
        open_corpus(tmp_path / "bob", sounds=True)
    (tmp_path / "bob/b 2.wav").rename(tmp_path / "bob/b3.wav")
    (tmp_path / "bob/b3.wav").write_bytes(b"")
    with pytest.raises(DamagedCorpus, match="is none or an empty one"):
        open_corpus(tmp_path / "bob", sounds=True)
