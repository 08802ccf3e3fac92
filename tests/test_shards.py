"Shards: what is packed comes out again; killed, flipped, cut, crowded runs; broken sounds; streams that hold little."
import functools, http.server, io, json, os, re, resource, shutil, signal, subprocess, sys, tarfile, threading, time
import urllib.request
from pathlib import Path
import numpy as np, pytest, soundfile, torch
from forks import Fork
from latentspeech import cli
from latentspeech.config import SAMPLE_RATE
from latentspeech.corpora import Corpus, CorpusError, Utterance
from latentspeech.espeak import speak_espeak
from latentspeech.layouts import open_corpus
from latentspeech.shards import browse, check_labels, check_sound, describe, prepare, stream_shards
from latentspeech.text import to_phones

ROOT = Path(__file__).resolve().parents[1]
COUNT = 14

def tone(seconds, rate=SAMPLE_RATE, pitch=150):
    return (0.2 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)).astype(np.float32)

def write_folder(folder, count=COUNT, rate=24_000):
    "A plain folder: a table with splits and speakers, and sounds at half our rate."
    (folder / "wavs").mkdir(parents=True)
    rows = ["id\ttext\tpinyin\tspeaker\tsplit"]
    for i in range(count):
        soundfile.write(folder / f"wavs/a{i}.wav", tone(0.5 + 0.02 * i, rate, 150 + 7 * i), rate)
        rows.append(f"a{i}\t第{i}句\tdi4 yi1 "
                    f"ju4\t{'ann' if i % 2 else 'bob'}\t{'test' if i < 2 else 'valid' if i < 4 else 'train'}")
    (folder / "metadata.tsv").write_text("\n".join(rows) + "\n", "utf8")
    return folder

@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_corpus(write_folder(tmp_path_factory.mktemp("source") / "c"))

@pytest.fixture(scope="module")
def ready(source, tmp_path_factory):
    return prepare(source, tmp_path_factory.mktemp("ready") / "s", size=3, progress=False)

def bits(folder):
    return {f.name: f.read_bytes() for f in Path(folder).iterdir() if f.suffix in (".tar", ".json")}

# round trip

def test_what_is_packed_comes_out_again(source, ready):
    assert {u.id for u in ready} == {u.id for u in source} and ready.name == source.name and not ready.verify()
    for u in ready:
        was, audio = source[u.id], ready.audio(u)
        assert (u.text, u.pinyin, u.speaker, u.split, u.symbols, u.tones,
                u.starts) == (was.text, was.pinyin, was.speaker, was.split, was.symbols, was.tones, was.starts)
        assert len(audio) == round(u.seconds * SAMPLE_RATE) and torch.allclose(audio, source.audio(was), atol=1e-4)
    assert describe(ready) | dict(folder="", name="") == describe(source) | dict(folder="", name="")
    first, size = ready.split("train")[0].member
    data = (ready.folder / "train-00000.tar").read_bytes()[first:first + size]
    assert len(data) == size and soundfile.info(io.BytesIO(data)).samplerate == SAMPLE_RATE

def test_any_tar_reader_understands_a_shard(ready):
    with tarfile.open(ready.folder / "train-00000.tar") as tar:
        names = tar.getnames()
    assert len(names) == 6
    assert all(a.removesuffix(".json") == b.removesuffix(".flac") for a, b in zip(names[::2], names[1::2]))
    with tarfile.open(ready.folder / "train-00000.tar") as tar:
        row = json.load(tar.extractfile(names[0]))
    assert Utterance(path=Path("x"), **row).text.startswith("第")

def test_labels_travel_with_the_sound(tmp_path):
    pinyin = "jin1 tian1 tian1 qi4 hen2 hao3".split()
    audio, starts = speak_espeak(pinyin)
    soundfile.write(tmp_path / "a.wav", audio, SAMPLE_RATE, "PCM_24")
    phones = to_phones(["sil", *pinyin, "sil"])
    u = Utterance("a", "今天天气很好", pinyin, "x", "train", tmp_path / "a.wav", len(audio) / SAMPLE_RATE,
                  phones.symbols, phones.tones, starts)
    again = prepare(Corpus(tmp_path, "one", [u]), tmp_path / "s", progress=False)
    assert np.allclose(again["a"].starts, starts)
    assert torch.allclose(again.audio(again["a"]), audio, atol=1e-4)
    assert not again.report

def test_the_same_corpus_makes_the_same_bits(source, ready, tmp_path):
    assert bits(prepare(source, tmp_path / "s", size=3, progress=False).folder) == bits(ready.folder)

def test_shards_can_be_packed_again_without_loss(ready, tmp_path):
    again = prepare(ready, tmp_path / "s", size=5, progress=False)
    assert all(torch.equal(again.audio(u), ready.audio(ready[u.id])) for u in again)

def test_shards_train_as_any_corpus_does(ready, tmp_path):
    from latentspeech.autoencoder import Autoencoder
    from latentspeech.config import preset
    from latentspeech.latents import cache_latents
    latents = cache_latents(Autoencoder(preset("tiny").autoencoder), ready, tmp_path, progress=False)
    assert {u.id: latents[u.id].shape[1] for u in ready} == {u.id: -(-round(u.seconds * SAMPLE_RATE) // 1024)
                                                             for u in ready}

# going on

def test_a_second_run_touches_nothing_but_what_changed(tmp_path):
    corpus = open_corpus(write_folder(tmp_path / "c"))
    prepare(corpus, tmp_path / "s", size=3, progress=False)
    def stamps():
        return {f.name: f.stat().st_mtime_ns for f in (tmp_path / "s").glob("*.tar")}
    before = stamps()
    prepare(corpus, tmp_path / "s", size=3, progress=False)
    assert stamps() == before
    soundfile.write(tmp_path / "c/wavs/a9.wav", tone(0.6, 24_000, 400), 24_000)
    again = prepare(open_corpus(tmp_path / "c"), tmp_path / "s", size=3, progress=False)
    changed, = [name for name, stamp in stamps().items() if stamp != before[name]]
    assert again["a9"].path.name == changed
    assert not again.verify()
    assert torch.allclose(again.audio(again["a9"]), open_corpus(tmp_path / "c").audio(corpus["a9"]), atol=1e-4)

@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "no index", "half an index", "no archive", "draft"])
def test_a_damaged_shard_is_made_again(source, ready, tmp_path, damage):
    folder = shutil.copytree(ready.folder, tmp_path / "s")
    tar, index = folder / "train-00001.tar", folder / "train-00001.json"
    if damage == "flip":
        data = bytearray(tar.read_bytes())
        data[3000] ^= 1
        tar.write_bytes(data)
    if damage == "cut":
        tar.write_bytes(tar.read_bytes()[:5000])
    if damage == "empty":
        tar.write_bytes(b"")
    if damage == "no index":
        index.unlink()
    if damage == "half an index":
        index.write_bytes(index.read_bytes()[:300])
    if damage == "no archive":
        tar.unlink()
    if damage == "draft":
        (folder / ".train-00001.tar").write_bytes(b"half")
        index.unlink()
    prepare(source, folder, size=3, progress=False)
    assert bits(folder) == bits(ready.folder)

SLOW = """
import sys, time
from latentspeech.layouts import open_corpus
from latentspeech.shards import prepare
corpus = open_corpus(sys.argv[1]); audio = corpus.audio
corpus.audio = lambda u: (time.sleep(0.03), audio(u))[1]
prepare(corpus, sys.argv[2], size=3, progress=False)
"""
def start(*words):
    return Fork("-c", SLOW, *words)
def wait_for(condition, seconds=300):   # ends what hangs
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it took too long"
        time.sleep(0.002)

def test_killed_and_going_on(source, ready, tmp_path):
    folder, kept = tmp_path / "s", {}
    for announced in (1, 3):     # killed while it writes the next one
        process = start(source.folder, folder)
        wait_for(lambda: len(list(folder.glob("t*-?????.json"))) >= announced and list(folder.glob(".t*.tar")))
        if announced == 1:      # nobody else may meddle meanwhile
            with pytest.raises(CorpusError, match="being prepared by another process"):
                prepare(source, folder, size=3, progress=False)
        process.send_signal(signal.SIGKILL)
        process.wait()
        whole = {f.with_suffix(".tar"): f.with_suffix(".tar").stat().st_mtime_ns
                 for f in folder.glob("[tv]*-?????.json")}
        assert len(whole) >= announced
        assert not (folder / "shards.json").exists()
        assert all(p.stat().st_mtime_ns == stamp for p, stamp in kept.items())
        kept = whole
        with pytest.raises(CorpusError, match="isn't finished"):
            open_corpus(folder)
    prepare(source, folder, size=3, progress=False)
    assert bits(folder) == bits(ready.folder) and all(p.stat().st_mtime_ns == stamp for p, stamp in kept.items())

def test_drafts_of_a_killed_run_are_no_strangers(source, ready, tmp_path):
    folder = shutil.copytree(ready.folder, tmp_path / "s")
    drafts = [folder / name for name in (".train-00000.json-7-140", ".shards.json-7-140", ".report.txt-7-140",
                                         ".train-00001.tar")]
    for draft in drafts:
        draft.write_bytes(b"half")
    prepare(source, folder, size=3, progress=False)
    assert not any(draft.exists() for draft in drafts) and bits(folder) == bits(ready.folder)
    (folder / ".train-00000.json-mine").write_bytes(b"not ours")
    with pytest.raises(CorpusError, match="something else"):
        prepare(source, folder, size=3, progress=False)

def test_a_full_disk_is_one_line_and_costs_one_shard(source, ready, tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    code = SLOW.replace("prepare(corpus", "try: prepare(corpus").replace(
        "progress=False)", "progress=False)\nexcept ValueError as e: sys.exit(str(e))")
    done = subprocess.run([sys.executable, "-c", code, str(source.folder), str(tmp_path / "s")], preexec_fn=limited,
                          capture_output=True, text=True,
                          env=dict(os.environ, PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1"))
    assert done.returncode == 1
    assert "cannot write to" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "s").glob("*-?????.tar"))
    assert bits(prepare(source, tmp_path / "s", size=3, progress=False).folder) == bits(ready.folder)

def test_folders_that_are_not_ours(source, ready, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CorpusError, match="something else, thesis.txt"):
        prepare(source, tmp_path, progress=False)
    with pytest.raises(CorpusError, match="the corpus itself"):
        prepare(ready, ready.folder, progress=False)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"

def test_a_smaller_corpus_leaves_no_old_shards(source, tmp_path):
    prepare(source, tmp_path / "s", size=2, progress=False)
    few = Corpus(source.folder, source.name, source.utterances[:6])
    assert len(prepare(few, tmp_path / "s", size=2, progress=False)) == 6
    assert len(list((tmp_path / "s").glob("*.tar"))) == 3

# sounds

def damaged(kind, file):
    "Break a sound of 0.7 s that says three syllables."
    samples = tone(0.7, 24_000)
    def write(samples, rate=24_000, **how):
        soundfile.write(file, samples, rate, **how)
    if kind == "cut short":
        write(samples)
        file.write_bytes(file.read_bytes()[:9000])
    elif kind == "header only":
        write(samples)
        file.write_bytes(file.read_bytes()[:44])
    elif kind == "silent":
        write(samples * 0)
    elif kind == "nearly silent":
        write(samples * 1e-4, subtype="FLOAT")
    elif kind == "not a number":
        samples[99] = np.nan
        write(samples, subtype="FLOAT")
    elif kind == "integers as floats":
        write(samples * 32768, subtype="FLOAT")
    elif kind == "too short":
        write(samples[:2000])
    elif kind == "too long":
        write(tone(12, 24_000))
    elif kind == "removed":
        file.unlink()
    elif kind == "a web page":
        file.write_text("<html>not found</html>")
    elif kind == "stereo":
        write(np.stack([samples, samples], 1))
    elif kind == "24 bit":
        write(samples, subtype="PCM_24")
    elif kind == "another rate":
        write(tone(0.7, 44_100), 44_100)
    elif kind == "clipped":
        write((samples * 9).clip(-1, 1))

BROKEN = {"cut short": "cut short", "header only": "samples|cut short", "silent": "is silent",
          "nearly silent": "is silent", "not a number": "NaN", "integers as floats": "peaks at",
          "too short": "too short", "too long": "too long", "removed": "no file", "a web page": "a web page"}

@pytest.mark.parametrize("kind", BROKEN)
def test_broken_sounds_are_left_out_with_id_reason_and_action(tmp_path, kind):
    corpus = open_corpus(write_folder(tmp_path / "c"))
    damaged(kind, tmp_path / "c/wavs/a7.wav")
    again = prepare(corpus, tmp_path / "s", size=3, most_lost=0.1, progress=False)
    line, = again.report
    assert [u.id for u in corpus if u.id not in {v.id for v in again}] == ["a7"]
    assert line.startswith("a7 in wavs/a7.wav: left out, ")
    assert "; " in line
    assert any(part in line for part in BROKEN[kind].split("|")), line
    assert (tmp_path / "s/report.txt").read_text("utf8") == line + "\n"

@pytest.mark.parametrize("kind", ["stereo", "24 bit", "another rate", "clipped"])
def test_odd_sounds_are_mended_or_told(tmp_path, kind):
    damaged(kind, write_folder(tmp_path / "c") / "wavs/a7.wav")
    again = prepare(open_corpus(tmp_path / "c"), tmp_path / "s", progress=False)
    assert len(again) == COUNT and abs(len(again.audio(again["a7"])) / SAMPLE_RATE - 0.7) < 1e-3
    assert len(again.report) == (kind == "clipped")
    assert all(re.fullmatch(r"a7 in wavs/a7.wav: kept, but has \d+\.\d% of its samples clipped", line)
               for line in again.report)

def test_too_many_broken_sounds_stop_it(tmp_path):
    corpus = open_corpus(write_folder(tmp_path / "c"))
    for i in (5, 7):
        damaged("silent", tmp_path / f"c/wavs/a{i}.wav")
    with pytest.raises(CorpusError,
                       match=r"2 of 14 utterances can't be used, more than 1.0% \(.*\); the first: "
                             r"a\d in wavs/a\d.wav: "
                             r"left out, a\d is silent") as caught:
        prepare(corpus, tmp_path / "s", progress=False)
    assert "\n" not in str(caught.value)
    assert len((tmp_path / "s/report.txt").read_text().splitlines()) == 2
    assert not (tmp_path / "s/shards.json").exists()
    assert len(prepare(corpus, tmp_path / "s", most_lost=0.2, progress=False)) == 12

def test_labels_are_compared_with_the_sound():
    pinyin = "xiong2 mao1 zai4 shu4 xia4 shui4 jiao4".split()
    audio, starts = speak_espeak(pinyin, silence=(0.3, 0.3))
    symbols = to_phones(["sil", *pinyin, "sil"]).symbols
    assert check_labels(audio, symbols, starts) == []
    early = [0.0, *(s - 0.25 for s in starts[1:])]
    late = [0.0, *(s + 0.25 for s in starts[1:])]
    assert any("says sil" in r and "speech" in r for r in check_labels(audio, symbols, early))
    assert any("says sil" in r and "speech" in r for r in check_labels(audio, symbols, late))
    for edge in (0.04, 0.0501, 0.06, 0.099):
        sound, when = speak_espeak(pinyin, "male", silence=(edge, edge))
        assert check_labels(sound, symbols, when) == []
    quiet = audio.clone()
    quiet[int(starts[6] * SAMPLE_RATE):int(starts[7] * SAMPLE_RATE)] = 0
    assert any("silent" in r for r in check_labels(quiet, symbols, starts))
    u = Utterance("a", "x", pinyin, "s", "train", Path("x"), 2.0, symbols, [0] * len(symbols), starts)
    assert check_sound(u, audio) == []
    with pytest.raises(CorpusError, match="beyond its end"):
        check_sound(u, audio[:int(starts[-1] * SAMPLE_RATE)])

# alignments

def test_an_alignment_is_asked_for_once(source, tmp_path):
    asked = []
    def align(corpus):
        asked.append(len(corpus))
        timed = [Utterance(**{**vars(u), "starts": [i * 0.05 for i in range(len(u.symbols))]}) for u in corpus
                 if u.id != "a5"]
        return Corpus(corpus.folder, corpus.name, timed, report=["a5: no way through"])
    for _ in range(2):
        again = prepare(source, tmp_path / "s", align, size=4, most_lost=0.1, progress=False)
    assert asked == [COUNT]
    assert len(again) == COUNT - 1
    assert all(u.starts[1] == 0.05 for u in again)
    assert "a5: no way through" in again.report
    (tmp_path / "s/alignment.json").write_text("{")
    prepare(source, tmp_path / "s", align, size=4, most_lost=0.1, progress=False)
    assert asked == [COUNT, COUNT]
    prepare(again, tmp_path / "t", align, progress=False)
    assert asked == [COUNT, COUNT]      # starts that are there are used

# streams

def test_streams_in_order_mixed_and_shared(source, ready):
    shards = sorted(ready.folder.glob("train-*.tar"))
    plain = [u.id for u, _ in stream_shards(shards)]
    mixed = [[u.id for u, _ in stream_shards(shards, shuffle=5, seed=seed)] for seed in (1, 1, 2)]
    assert plain == [u.id for u in ready.split("train")]
    assert mixed[0] == mixed[1] != mixed[2]
    assert sorted(mixed[2]) == sorted(plain)
    halves = [[u.id for u, _ in stream_shards(shards[rank::2])] for rank in (0, 1)]
    assert sorted(sum(halves, [])) == sorted(plain)
    for u, audio in stream_shards(shards):
        assert torch.equal(audio, ready.audio(ready[u.id])) and u.symbols == ready[u.id].symbols

def test_a_stream_needs_neither_disk_nor_memory(ready, tmp_path):
    open_now, most, taken = set(), [0], [0]
    class Passing(io.RawIOBase):             # no seeking, no file: what a pipe gives
        def __init__(self, name):
            self.file = open(name, "rb")
            open_now.add(name)
            most[0] = max(most[0], len(open_now))
        def readable(self):
            return True
        def read(self, n=-1):
            data = self.file.read(n)
            taken[0] += len(data)
            return data
        def close(self):
            self.file.close()
            open_now.discard(self.file.name)
            super().close()
    shards = [str(p) for p in sorted(ready.folder.glob("*.tar"))]
    stream = stream_shards(shards, Passing)
    next(stream)
    assert taken[0] <= os.path.getsize(shards[0]) and len(list(stream)) == COUNT - 1 and most[0] == 1 and not open_now

def test_from_a_server(ready):
    handler = functools.partial(type("Quiet", (http.server.SimpleHTTPRequestHandler,),
                                     {"log_message": lambda *a: None}), directory=str(ready.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        names = [f"{address}/{p.name}" for p in sorted(ready.folder.glob("*.tar"))]
        assert {u.id for u, _ in stream_shards(names, urllib.request.urlopen)} == {u.id for u in ready}
        with pytest.raises(CorpusError, match="no-such.tar"):
            list(stream_shards([f"{address}/no-such.tar"], urllib.request.urlopen))
        server.shutdown()

def hostile(kind, shard, largest):
    data = shard.read_bytes()
    if kind == "cut":
        shard.write_bytes(data[:len(data) // 2 // 512 * 512 + 100])
    elif kind == "page":
        shard.write_text("<html>" * 200)
    elif kind == "missing":
        shard.unlink()
    elif kind == "flip":
        at = data.index(b"fLaC") + 4000
        shard.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
    elif kind == "label":
        shard.write_bytes(data.replace(b'"split": "train"', b'"split": "tra1n"', 1))
    elif kind == "json":
        shard.write_bytes(data.replace(b'{"id"', b'["id"', 1))
    else:
        with tarfile.open(shard, "w") as tar:
            info = tarfile.TarInfo({"parent": "../x.flac", "absolute": "/x.flac", "other": "x.exe"}.get(kind, "x.flac"))
            if kind == "link":
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            if kind == "device":
                info.type = tarfile.CHRTYPE
            if kind == "bomb":
                info.size = largest + 1
            tar.addfile(info, io.BytesIO(bytes(info.size)))

@pytest.mark.parametrize("kind", ["cut", "page", "missing", "flip", "label", "json", "parent", "absolute", "other",
                                  "link", "device", "bomb", "orphan"])
def test_hostile_streams_are_refused(ready, tmp_path, kind):
    shard = Path(shutil.copy(ready.folder / "train-00000.tar", tmp_path))
    hostile(kind, shard, 100_000)
    with pytest.raises(CorpusError, match="train-00000.tar") as caught:
        list(stream_shards([shard], largest=100_000))
    assert "\n" not in str(caught.value)

def test_a_stream_that_ends_between_two_files_is_noticed(ready, tmp_path):
    shard = tmp_path / "s.tar"
    with tarfile.open(ready.folder / "train-00000.tar") as old, tarfile.open(shard, "w") as new:
        for member in old.getmembers()[:-1]:
            new.addfile(member, old.extractfile(member))
    with pytest.raises(CorpusError, match="has no sound"):
        list(stream_shards([shard]))

# the window and the shell

def test_the_window_shows_a_page_and_what_is_wrong_with_it(ready, source, tmp_path, capsys):
    window = browse(ready)
    assert window.children[0].max == COUNT - 1 and browse(ready, "test").children[0].max == 1
    window.f(3)          # the page itself: what a widget calls hides its errors
    assert f"{ready[3].id}, {ready[3].speaker}, {ready[3].split}: nothing to remark" in capsys.readouterr().out
    u = Utterance(**{**vars(ready[3]), "starts": [0.02 * i for i in range(len(ready[3].symbols))]})
    browse(Corpus(".", "x", [u])).f(0)
    assert "says sil at" in capsys.readouterr().out      # a tone all through, where the labels end on silence
    browse(Corpus(".", "x", [Utterance(**{**vars(u), "starts": [9.0 + s for s in u.starts]})])).f(0)
    assert "has labels beyond its end" in capsys.readouterr().out

def refused(capsys, *words):
    assert cli.main(list(words)) == 2
    out, err = capsys.readouterr()
    line, = err.strip().splitlines()
    assert out == "" and "Traceback" not in line
    return line

def test_prepare_from_a_shell(tmp_path, capsys):
    write_folder(tmp_path / "c")
    assert cli.main(["prepare", str(tmp_path / "c"), "--out", str(tmp_path / "s"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["utterances"], facts["train"], facts["test"], facts["speakers"],
            facts["ok"]) == (COUNT, 10, 2, ["ann", "bob"], True)
    assert len(open_corpus(tmp_path / "s")) == COUNT and facts["folder"] == str(tmp_path / "s")
    assert cli.main(["prepare", str(tmp_path / "s"), "--verify", "--json"]) == 0            # shards are a corpus too
    assert json.loads(capsys.readouterr().out)["damaged"] == []
    (tmp_path / "c/metadata.tsv").write_text("id\ttext\na1\n", "utf8")
    assert "metadata.tsv line 2" in refused(capsys, "prepare", str(tmp_path / "c"), "--out", str(tmp_path / "t"))

def test_damage_costs_one_line_and_code_2_in_a_real_shell(tmp_path):
    (tmp_path / "wavs").mkdir()
    (tmp_path / "metadata.csv").write_text("LJ001-0001|so it is|so it is\n")
    code = "import sys; from latentspeech.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "prepare", str(tmp_path)], capture_output=True, text=True,
                          env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert (done.returncode, done.stdout) == (2, "") and len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("DamagedCorpus: ") and "metadata.csv line 1 has no sound" in done.stderr

def test_damage_can_be_left_out_from_a_shell(tmp_path, capsys):
    write_folder(tmp_path / "c")
    damaged("silent", tmp_path / "c/wavs/a7.wav")
    assert "1 of 14" in refused(capsys, "prepare", str(tmp_path / "c"), "--out", str(tmp_path / "s"))
    assert cli.main(["prepare", str(tmp_path / "c"), "--out", str(tmp_path / "s"), "--most-lost", "0.1"]) == 0
    assert "a7 in wavs/a7.wav: left out, a7 is silent" in capsys.readouterr().out

def test_starts_can_be_found_from_a_shell(tmp_path, capsys, monkeypatch):
    from latentspeech import aligner
    def align(corpus):
        return Corpus(corpus.folder, corpus.name,
                      [Utterance(**{**vars(u), "starts": [i * 0.05 for i in range(len(u.symbols))]}) for u in corpus])
    monkeypatch.setattr(aligner, "align_corpus", align)
    assert cli.main(["prepare", str(write_folder(tmp_path / "c")), "--out", str(tmp_path / "s"), "--align",
                     "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["with_starts"] == COUNT

def test_shards_go_to_the_cache_where_no_folder_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LATENTSPEECH_DATA", str(tmp_path / "data"))
    assert cli.main(["prepare", str(write_folder(tmp_path / "mine")), "--json"]) == 0
    folder = Path(json.loads(capsys.readouterr().out)["folder"])
    assert folder.parent == tmp_path / "data/cache" and re.fullmatch(r"mine-[0-9a-f]{8}", folder.name)
    assert len(open_corpus(folder)) == COUNT
    assert cli.main(["prepare", str(write_folder(tmp_path / "else/mine", 10)), "--json"]) == 0       # named alike
    other = Path(json.loads(capsys.readouterr().out)["folder"])
    assert other.parent == folder.parent and len(open_corpus(other)) == 10 and len(open_corpus(folder)) == COUNT
