"Layouts: each is generated, read whole, prepared and trained on for a step; what is refused is refused in one line."
import gzip, json, re, shutil, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, soundfile, torch
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import SAMPLE_RATE, preset
from latentspeech.corpora import Corpus, CorpusError, make_embedded_corpus
from latentspeech.files import MissingExtra
from latentspeech.layouts import LAYOUTS, header_columns, guess_columns, join, named_split, open_corpus
from latentspeech.readers import DamagedCorpus
from latentspeech.shards import prepare
from latentspeech.tasks import AutoencoderTask, CropDataset, VoiceTask, voice_example

TEXTS = ["你好，世界。", "今天天气很好。", "我们去公园吧。", "再见！", "他在图书馆看书。", "明天会下雨吗？"]


def tone(i, rate=24_000):
    return (0.2 * np.sin(2 * np.pi * (150 + 9 * i) * np.arange(int((1.2 + 0.1 * i) * rate)) / rate)).astype(np.float32)


def record(folder, names):
    "Write a sound for each name."
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, tone(i), 24_000)


def write(file, lines):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", "utf8")


def rows(form, **more):
    return [form.format(i=i, text=text, speaker=["ann", "bob"][i % 2], **more) for i, text in enumerate(TEXTS)]


def piper(folder):
    record(folder, [f"wav/{i}.wav" for i in range(6)])
    write(folder / "metadata.csv", rows("{i}|{text}"))


def piper_speakers(folder):
    record(folder, [f"wavs/{i}.wav" for i in range(6)])
    write(folder / "metadata.csv", rows("{i}|{speaker}|{text}"))


def matcha(folder):
    record(folder, [f"wavs/{i}.wav" for i in range(6)])
    lines = rows("DUMMY/{i}.wav|{text}")
    write(folder / "filelists/my_train_filelist.txt", lines[:4])
    write(folder / "filelists/my_val_filelist.txt", lines[4:5])
    write(folder / "filelists/my_test_filelist.txt", lines[5:])


def coqui(folder):
    record(folder, [f"wavs/{i}.wav" for i in range(6)])
    write(folder / "metadata.csv", ["audio_file|text|speaker_name|emotion_name",
                                    *rows("wavs/{i}.wav|{text}|{speaker}|neutral")])


def f5(folder):
    record(folder, [f"wavs/{i}.wav" for i in range(6)])
    write(folder / "metadata.csv", ["audio_file|text", *rows("wavs/{i}.wav|{text}")])


def ljspeech(folder):
    record(folder, [f"wavs/{i}.wav" for i in range(6)])
    write(folder / "metadata.csv", rows("{i}|{text}|{text}"))


def gpt_sovits(folder):
    record(folder, [f"slicer_opt/{i}.wav" for i in range(6)])
    write(folder / "mine.list", rows("D:\\GPT\\output\\slicer_opt\\{i}.wav|{speaker}|ZH|{text}"))


def audio_folder(folder):
    record(folder, [f"train/{i}.wav" for i in range(4)] + [f"test/{i}.wav" for i in (4, 5)])
    for part, some in (("train", range(4)), ("test", (4, 5))):
        write(folder / part / "metadata.csv", ["file_name,transcription", *[f'{i}.wav,"{TEXTS[i]}"' for i in some]])


def audio_folder_lines(folder):
    record(folder, [f"data/{i}.wav" for i in range(6)])
    write(folder / "metadata.jsonl", [json.dumps(dict(file_name=f"data/{i}.wav", text=text, speaker_id=7))
                                      for i, text in enumerate(TEXTS)])


def beside(folder, suffix=".txt"):
    record(folder, [f"{'ann' if i % 2 else 'bob'}/{i}.wav" for i in range(6)])
    for sound in folder.rglob("*.wav"):
        write(sound.with_suffix(suffix), [TEXTS[int(sound.stem)]])


def thchs(folder):
    record(folder, [f"data/A2_{i}.wav" for i in range(6)])
    for i in range(6):
        write(folder / f"data/A2_{i}.wav.trn", ["你 好 世 界", "ni2 hao3 shi4 jie4", "n i2 h ao3 sh i4 j ie4"])


def lhotse(folder):
    record(folder, [f"wavs/{i}.wav" for i in range(6)])
    seconds = [len(tone(i)) / 24_000 for i in range(6)]
    write(folder / "recordings.jsonl", [json.dumps(dict(
        id=f"r{i}", sources=[dict(type="file", channels=[0], source=f"/srv/c/wavs/{i}.wav")], sampling_rate=24_000,
        num_samples=len(tone(i)), duration=seconds[i])) for i in range(6)])
    with gzip.open(folder / "supervisions.jsonl.gz", "wt", encoding="utf8") as file:
        file.writelines(json.dumps(dict(id=f"s{i}", recording_id=f"r{i}", start=0.0, duration=seconds[i], channel=0,
                                        text=text,
                                        speaker="ann", language="Chinese")) + "\n" for i, text in enumerate(TEXTS))


def arrow(folder):
    "Write what `DatasetDict.save_to_disk` writes, with a column too many and two batches in a file."
    import pyarrow
    record(folder / "raw", [f"{i}.wav" for i in range(6)])
    sounds = [dict(bytes=(folder / f"raw/{i}.wav").read_bytes(), path=f"{i}.wav") for i in range(6)]
    shutil.rmtree(folder / "raw")
    for split, some in (("train", range(4)), ("test", (4, 5))):
        (folder / split).mkdir()
        table = pyarrow.table(dict(audio=pyarrow.array([sounds[i] for i in some]), year=list(some),
                                   sentence=[TEXTS[i] for i in some], speaker_id=[["ann", "bob"][i % 2] for i in some]))
        file = "data-00000-of-00001.arrow"
        with pyarrow.OSFile(str(folder / split / file), "wb") as out, pyarrow.ipc.new_stream(out, table.schema) as to:
            for batch in table.to_batches(max_chunksize=3):
                to.write_batch(batch)
        write(folder / split / "state.json", [json.dumps(dict(_data_files=[dict(filename=file)]))])
        write(folder / split / "dataset_info.json", ["{}"])
    write(folder / "dataset_dict.json", [json.dumps(dict(splits=["train", "test"]))])


try:
    import pyarrow as _
    ARROW = dict(arrow=arrow)
except ImportError:
    ARROW = {}
FOLDERS = dict(piper=piper, piper_speakers=piper_speakers, matcha=matcha, coqui=coqui, f5=f5, ljspeech=ljspeech,
               gpt_sovits=gpt_sovits, audio_folder=audio_folder, audio_folder_lines=audio_folder_lines, txt=beside,
               lab=lambda folder: beside(folder, ".lab"), trn=lambda folder: beside(folder, ".trn"), thchs=thchs,
               lhotse=lhotse, **ARROW)
NAMED = dict(audio_folder="audio folder", audio_folder_lines="audio folder", txt="texts beside sounds",
             lab="texts beside sounds",
             trn="texts beside sounds", thchs="texts beside sounds", lhotse="lhotse", arrow="Arrow")
SPEAKERS = dict(piper_speakers=["ann", "bob"], coqui=["ann", "bob"], gpt_sovits=["ann", "bob"],
                audio_folder_lines=["7"],
                txt=["ann", "bob"], lab=["ann", "bob"], trn=["ann", "bob"], lhotse=["ann"], arrow=["ann", "bob"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    "Every layout, made once; tests copy what they damage."
    root = tmp_path_factory.mktemp("layouts")
    for name, make in FOLDERS.items():
        make(root / name)
    return root


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("sounds", [False, True])
def test_each_layout_is_read_whole(folders, name, sounds):
    corpus = open_corpus(folders / name, sounds=sounds)
    assert corpus.layout == NAMED.get(name, "list") and not corpus.report and not corpus.lost
    said = ["你好世界"] * 6 if name == "thchs" else TEXTS
    assert sorted(u.text for u in corpus) == sorted(said)
    assert all(len(u.pinyin) >= 2 and u.symbols[0] == u.symbols[-1] == "sil" and u.starts is None for u in corpus)
    assert corpus.speakers == SPEAKERS.get(name, [name])
    for u in corpus:        # the right sound
        i = int(re.search(r"\d+$", u.id)[0])
        assert abs(u.seconds - len(tone(i)) / 24_000) < 1e-3 and (name == "thchs" or u.text == TEXTS[i])


def test_splits_are_the_folders_own_where_it_has_any(folders):
    assert [u.text for u in open_corpus(folders / "matcha").split("valid")] == TEXTS[4:5]
    assert [u.text for u in open_corpus(folders / "matcha").split("test")] == TEXTS[5:]
    assert sorted(u.text for u in open_corpus(folders / "audio_folder").split("test")) == sorted(TEXTS[4:])


@pytest.mark.parametrize("name", FOLDERS)
def test_each_layout_is_prepared_and_trained_on(folders, tmp_path, name):
    corpus = open_corpus(folders / name)
    def align(corpus):
        return corpus.with_utterances([replace(u, starts=[i * 0.06 for i in range(len(u.symbols))]) for u in corpus])
    ready = prepare(corpus, tmp_path / "s", align, progress=False)
    assert {(u.id, u.text, u.speaker, u.split) for u in ready} == {(u.id, u.text, u.speaker, u.split) for u in corpus}
    assert ready.layout == corpus.layout and open_corpus(ready.folder).layout == corpus.layout
    tiny, everything = preset("tiny"), list(ready)
    task = AutoencoderTask(tiny, CropDataset(ready, everything))
    loss, _ = task(task.batch(torch.Generator().manual_seed(0), 2))
    loss.backward()
    speakers, encoder = ready.speakers, Autoencoder(tiny.autoencoder).eval()
    with torch.no_grad():
        z = {u.id: encoder.encode(ready.audio(u)[None, None])[0] for u in ready}
    voice = VoiceTask(tiny, [voice_example(u, z[u.id], speakers) for u in ready], len(speakers))
    loss, _ = voice(voice.batch(torch.Generator().manual_seed(0), 2))
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize("name", FOLDERS)
def test_macs_own_files_are_nobodys(folders, tmp_path, name):
    folder = shutil.copytree(folders / name, tmp_path / name)
    for file in [f for f in folder.rglob("*") if f.is_file()]:
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7Mac OS X")
    assert len(open_corpus(folder)) == 6


def test_a_bom_and_windows_lines_change_nothing(folders, tmp_path):
    for name in ("coqui", "audio_folder_lines", "txt"):
        folder = shutil.copytree(folders / name, tmp_path / name)
        for file in [f for f in folder.rglob("*") if f.suffix in (".csv", ".jsonl", ".txt")]:
            file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
        assert sorted(u.text for u in open_corpus(folder)) == sorted(TEXTS)


# what is refused

def change(name, old, new):
    def damage(folder):
        file = folder / name
        text = file.read_text("utf8")
        assert old in text
        file.write_text(text.replace(old, new, 1), "utf8")
    return damage


def remove(name):
    return lambda folder: (folder / name).unlink()


DAMAGE = {
    "a sound less": ("piper", remove("wav/2.wav"), "metadata.csv line 3 has no sound: 2 is missing"),
    "a line less": ("piper", change("metadata.csv", "2|", "3|"), "metadata.csv line 4 has 3 again"),
    "a bar too many": (
        "piper",
        change("metadata.csv", "很好", "很|好"),
        "metadata.csv line 2 has 3 columns, the first line 2",
    ),
    "no text": ("piper", change("metadata.csv", TEXTS[3], ""), "metadata.csv line 4 has no text for 3.wav"),
    "a path that leads out": (
        "f5",
        change("metadata.csv", "wavs/3.wav", "../../etc/9.wav"),
        "metadata.csv line 5 has no sound",
    ),
    "columns that nothing names": (
        "piper_speakers",
        change("metadata.csv", TEXTS[0], "hm|hm"),
        "line 1 has 4 columns that nothing",
    ),
    "five columns": (
        "gpt_sovits",
        lambda f: write(f / "mine.list", rows("{i}|a|b|c|{text}")),
        "mine.list line 1 has 5 columns",
    ),
    "not UTF-8": (
        "gpt_sovits",
        lambda f: (f / "mine.list").write_bytes((f / "mine.list").read_text("utf8").encode("gb18030")),
        "mine.list line 1 isn't UTF-8",
    ),
    "no column of text": (
        "audio_folder_lines",
        lambda f: write(f / "metadata.jsonl", ['{"file_name": "data/1.wav", "id": 1}']),
        "metadata.jsonl line 1 names no column of text",
    ),
    "a broken line": (
        "audio_folder_lines",
        change("metadata.jsonl", "}\n", "\n"),
        "metadata.jsonl line 1 is no row of a table",
    ),
    "a list for a line": (
        "audio_folder_lines",
        change("metadata.jsonl", "{", "[" * 100_000),
        "metadata.jsonl line 1",
    ),
    "a row less": (
        "audio_folder",
        change("train/metadata.csv", f'2.wav,"{TEXTS[2]}"\n', ""),
        "should tell about train/2.wav",
    ),
    "quotes that don't end": (
        "audio_folder",
        change("train/metadata.csv", '1.wav,"', '1.wav,""x'),
        "train/metadata.csv line",
    ),
    "no text beside": ("txt", remove("ann/1.txt"), "ann/1.wav has no text beside it"),
    "an empty text": ("txt", lambda f: (f / "ann/1.txt").write_text(""), "1.txt line 1 has no text for 1.wav"),
    "times": ("lab", lambda f: (f / "ann/1.lab").write_text("0 1000000 sil\n"), "1.lab line 1 holds times"),
    "a pointer": (
        "trn",
        lambda f: (f / "ann/1.trn").write_text("../data/1.trn\n"),
        "1.trn line 1 holds times or a path",
    ),
    "a part of a recording": (
        "lhotse",
        change("recordings.jsonl", '"duration": 1.2', '"duration": 9.0'),
        "supervisions.jsonl.gz line 1 is a part of a recording",
    ),
    "an unknown recording": (
        "lhotse",
        change("recordings.jsonl", '"id": "r2"', '"id": "r9"'),
        "supervisions.jsonl.gz line 3 tells of no recording",
    ),
    "half a gzip": (
        "lhotse",
        lambda f: (f / "supervisions.jsonl.gz").write_bytes((f / "supervisions.jsonl.gz").read_bytes()[:60]),
        "supervisions.jsonl.gz line 1 is no line",
    ),
    "a web page for a sound": (
        "coqui",
        lambda f: (f / "wavs/1.wav").write_text("<html>"),
        "line 3 has a sound, wavs/1.wav, that is none",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("sounds", [False, True])
def test_damage_is_refused_in_one_line_with_its_place(folders, tmp_path, kind, sounds):
    name, damage, message = DAMAGE[kind]
    folder = shutil.copytree(folders / name, tmp_path / name)
    damage(folder)
    with pytest.raises(CorpusError) as caught:
        open_corpus(folder, sounds=sounds)
    assert message in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


def test_damage_may_be_left_out_and_counts_as_lost(folders, tmp_path):
    folder = shutil.copytree(folders / "piper", tmp_path / "c")
    (folder / "wav/2.wav").unlink()
    corpus = open_corpus(folder, strict=False)
    assert (len(corpus), corpus.lost) == (5, 1) and "2 is missing" in corpus.report[0]
    with pytest.raises(CorpusError, match="1 of 6 utterances can't be used, more than 1.0%"):
        prepare(corpus, tmp_path / "s", progress=False)
    assert not (tmp_path / "s/shards.json").exists() and not list((tmp_path / "s").glob("*.tar"))
    assert len(prepare(corpus, tmp_path / "s", most_lost=0.2, progress=False)) == 5


@pytest.mark.parametrize("name", ["words.srt", "text.docx", "a/transcript.txt", "lines.json", "1.TextGrid"])
def test_no_text_is_passed_over_in_silence(tmp_path, name):
    record(tmp_path, ["a/1.wav", "a/2.wav"])
    (tmp_path / "README.md").write_text("two sounds")
    assert len(open_corpus(tmp_path, sounds=True)) == 2
    (tmp_path / name).write_text("你好")
    with pytest.raises(DamagedCorpus, match=f"{re.escape(name)} line 1 is in no layout that is read here"):
        open_corpus(tmp_path, sounds=True)


ENGLISH = ["Good morning.", "It rained all day.", "See you tomorrow."]


def test_english_is_refused_at_the_door_or_kept_for_its_sound(tmp_path):
    record(tmp_path / "en", [f"wavs/{i}.wav" for i in range(3)])
    write(tmp_path / "en/metadata.csv", [f"{i}|{text}|{text}" for i, text in enumerate(ENGLISH)])
    with pytest.raises(DamagedCorpus, match="metadata.csv line 1 is English.*autoencoder.*lesson 75"):
        open_corpus(tmp_path / "en")
    corpus = open_corpus(tmp_path / "en", sounds=True)
    assert [u.text for u in corpus] == ENGLISH and not any(u.symbols for u in corpus)
    assert all("kept for its sound alone, is English" in line for line in corpus.report) and not corpus.lost
    with pytest.raises(CorpusError, match="has no utterance whose text can be said in train, and voice needs it"):
        Corpus(".", "en", [replace(u, split="train") for u in corpus]).require("voice")


def test_a_line_in_another_language_is_left_out_and_told(tmp_path):
    record(tmp_path, [f"{i}.wav" for i in range(4)])
    lines = ["ann|ZH|你好。", "ann|EN|Good morning.", "ann|JA|おはよう。", "ann|ZH|再见。"]
    write(tmp_path / "a.list", [f"{i}.wav|{line}" for i, line in enumerate(lines)])
    corpus = open_corpus(tmp_path)
    assert len(corpus) == 2 and corpus.lost == 0
    assert re.search(r"a.list line 2: left out, is in EN", corpus.report[0])
    assert [bool(u.symbols) for u in open_corpus(tmp_path, sounds=True)] == [True, False, False, True]


def test_aishell3_one_folder_up_leads_to_the_whole_corpus(tmp_path):
    for part, speaker in (("train", "SSB0005"), ("test", "SSB0006")):
        record(tmp_path / "data_aishell3", [f"{part}/wav/{speaker}/{speaker}0001.wav"])
        write(tmp_path / f"data_aishell3/{part}/content.txt", [f"{speaker}0001.wav\t你 ni2 好 hao3"])
    for sounds in (False, True):
        with pytest.raises(CorpusError, match=r"data_aishell3 may be one \(AISHELL-3\)"):
            open_corpus(tmp_path, sounds=sounds)
        for part in ("train", "test"):
            with pytest.raises(CorpusError,
                               match=f"{part} is one part of AISHELL-3; name the folder of both, .*data_aishell3$"):
                open_corpus(tmp_path / "data_aishell3" / part, sounds=sounds)
    assert len(open_corpus(tmp_path / "data_aishell3")) == 2


def test_each_layout_one_folder_up_is_named(folders, tmp_path):
    for name in ("piper", "matcha", "gpt_sovits", "audio_folder", "lhotse"):
        shutil.copytree(folders / name, tmp_path / name / "inside")
        with pytest.raises(CorpusError, match=f"{name}/inside may be one"):
            open_corpus(tmp_path / name, sounds=True)


def test_two_corpora_that_are_named_alike_keep_apart(folders, tmp_path):
    first, second = (open_corpus(shutil.copytree(folders / name, tmp_path / name / "mine"))
                     for name in ("piper", "coqui"))
    assert first.name == second.name == "mine" and first.folder_name() != second.folder_name()
    renamed = second.with_utterances([replace(u, id=f"b{u.id}", speaker="b") for u in second])
    assert join([first, renamed]).folder_name() not in (first.folder_name(), second.folder_name())
    assert first.folder_name() == open_corpus(tmp_path / "piper/mine").folder_name()


def test_the_table_of_layouts_is_whole():
    names = [layout.name for layout in LAYOUTS]
    assert len(set(names)) == len(names) == 11 and all(layout.holds for layout in LAYOUTS)
    assert [layout.name for layout in LAYOUTS if layout.anywhere] == ["texts beside sounds", "sounds"]


@pytest.mark.skipif(not ARROW, reason="pyarrow comes with the datasets extra, which the set-up leaves out")
@pytest.mark.parametrize("change, problem", [
    (lambda t: t.drop_columns(["sentence"]), "one of text"), (lambda t: t.drop_columns(["audio"]), "a column audio"),
    (lambda t: t.set_column(0, "audio", [[dict(bytes=None, path="a.wav")] * 4]), "sounds inside|a column audio"),
    (lambda t: t.set_column(0, "audio", [[dict(bytes=b"RIFF", path="a.wav")] * 4]), "a sound, a.wav, that"),
    (lambda t: t.set_column(2, "sentence", [[""] * 4]), "has no text"), (None, "no row of an Arrow table")])
def test_a_damaged_arrow_file_is_refused_with_its_row(folders, tmp_path, change, problem):
    import pyarrow
    folder = shutil.copytree(folders / "arrow", tmp_path / "mine")
    file = folder / "train/data-00000-of-00001.arrow"
    with pyarrow.OSFile(str(file)) as whole:
        table = pyarrow.ipc.open_stream(whole).read_all()
        table = change(table) if change else None
        text = None if change else file.read_bytes()[:500]
    if text:
        file.write_bytes(text)
    else:
        with pyarrow.OSFile(str(file), "wb") as out, pyarrow.ipc.new_stream(out, table.schema) as to:
            to.write_table(table)
    with pytest.raises(DamagedCorpus, match=f"arrow line 1 .*({problem})"):
        open_corpus(folder)


def test_arrow_without_pyarrow_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write(tmp_path / "state.json", [json.dumps(dict(_data_files=[dict(filename="data.arrow")]))])
    with pytest.raises(MissingExtra, match=r"latentspeech\[datasets\]"):
        open_corpus(tmp_path)


@pytest.mark.parametrize("columns, rows", [
    (dict(file=0, text=1), [["a", "你好"]]),
    (dict(file=0, text=2), [["a", "2个人。", "两个人。"], ["b", "好的。", "好的。"]]),
    (dict(file=0, speaker=1, text=2), [["a", "0", "好的。"], ["b", "1", "再见。"]]),
    (dict(file=0, text=1, speaker=2), [["a", "好的。", "小明"], ["b", "再见。", "小明"]]),
    (dict(file=0, speaker=1, language=2, text=3), [["a", "ann", "all_zh", "好的。"]]),
    ({}, [["a", "ann", "ok"]]), ({}, [["a"]]), ({}, [["a", "b", "c", "d"]])])
def test_columns_are_guessed_only_where_something_decides(columns, rows):
    assert guess_columns(rows) == columns


def test_headers_and_names():
    assert header_columns(["FILE", "Transcript", "speaker_id"]) == dict(file=0, text=1, speaker=2)
    assert header_columns(["id", "text", "normalized_text"]) == dict(file=0, text=2)
    assert [named_split(n) for n in ("trainer", "val", "x-dev_2", "latest")] == ["", "valid", "valid", ""]


def test_the_embedded_corpus_keeps_its_layout():
    corpus = make_embedded_corpus(config=preset("tiny").corpus, progress=False)
    assert open_corpus(corpus.folder).layout == "embedded" and SAMPLE_RATE == 48_000
