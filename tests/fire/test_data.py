"""Data that lies: names that lead out, replaced sounds, half of a corpus gone, files that unfold to gigabytes."""
import json, os, re
from pathlib import Path
import numpy as np, pytest, soundfile, torch
from test_shards import COUNT, tone, write_folder
from latentspeech import cli
from latentspeech.audio import AudioError, load, sound_seconds
from latentspeech.config import SAMPLE_RATE, SoundLimits
from latentspeech.corpora import Corpus, CorpusError, Utterance, load_corpus
from latentspeech.latents import cache_latents
from latentspeech.layouts import open_corpus
from latentspeech.readers import DamagedCorpus
from latentspeech.shards import prepare

BOMB = SoundLimits.memory // 4 * (6 if os.environ.get("FIRE") else 1) + SAMPLE_RATE   # samples: 3.2 GB, or 0.5


class Encoder(torch.nn.Module):
    "Stand for an autoencoder: a latent is the mean of its sound."
    def __init__(self):
        super().__init__()
        self.weight, self.latent_mean = torch.nn.Parameter(torch.ones(1)), torch.zeros(1)
    def encode(self, audio):
        return audio.mean(-1, keepdim=True)


def tree(folder):
    "List everything below a folder."
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


# ---------------------------------------------------------------- names as paths

@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "a/../../b", "", "a\0b", "x" * 300, 7, None])
def test_a_manifest_cannot_lead_out_of_the_data_folder(tmp_path, name, monkeypatch, capsys):
    "Neither alone nor joined with another corpus: refused, and nothing was written anywhere."
    monkeypatch.setenv("LATENTSPEECH_DATA", str(tmp_path / "data"))
    (tmp_path / "a").mkdir()
    (tmp_path / "a/manifest.json").write_text(json.dumps(dict(name=name, recipe="", utterances=[])))
    write_folder(tmp_path / "b")
    before = tree(tmp_path)
    for words in (f"{tmp_path}/a", f"{tmp_path}/a,{tmp_path}/b"):
        assert cli.main(["prepare", words]) == 2
        error = capsys.readouterr().err.strip()
        assert "is no name for a corpus" in error and "\n" not in error
    assert tree(tmp_path) == before


def test_a_joined_corpus_lies_inside_the_data_folder(tmp_path, monkeypatch, capsys):
    "Folders may be called whatever they like: what is made from them is not."
    monkeypatch.setenv("LATENTSPEECH_DATA", str(tmp_path / "data"))
    for name in ("-..-evil", "..a"):
        write_folder(tmp_path / "in" / name)
    assert cli.main(["prepare", f"{tmp_path}/in/..a", "--json"]) == 0
    made = Path(json.loads(capsys.readouterr().out)["folder"]).resolve()
    assert made.parent == (tmp_path / "data/cache").resolve()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "in"]


# ---------------------------------------------------------------- sounds that were replaced, and sounds that are gone

def test_a_sound_replaced_by_one_of_equal_length_gets_new_latents(tmp_path):
    "A table keeps no hashes, so the sounds themselves are asked."
    folder = write_folder(tmp_path / "c")
    first = dict(cache_latents(Encoder(), open_corpus(folder), tmp_path / "z", progress=False))
    assert dict(cache_latents(Encoder(), open_corpus(folder), tmp_path / "z", progress=False)) == first
    file = folder / "wavs/a7.wav"
    samples, rate = soundfile.read(file, dtype="float32")
    soundfile.write(file, np.abs(samples), rate)
    again = cache_latents(Encoder(), open_corpus(folder), tmp_path / "z", progress=False)
    assert [id for id in again if not torch.equal(again[id], first[id])] == ["a7"]


@pytest.mark.parametrize("what, says", [("sounds", "has no sound"), ("pinyin", "pinyin"), ("both", "pinyin")])
def test_half_of_a_corpus_lost_before_it_is_packed_fails(tmp_path, what, says, capsys):
    "What was left out at the door counts as much as what is found while packing."
    folder = write_folder(tmp_path / "c", 100)
    table = folder / "metadata.tsv"
    if what == "sounds":
        for i in range(0, 100, 2):
            (folder / f"wavs/a{i}.wav").unlink()
    else:
        head, *rows = table.read_text("utf8").splitlines()
        rows = [row.replace("di4 yi1 ju4", "di4 yi9") if i % 2 else row for i, row in enumerate(rows)]
        table.write_text("\n".join([head, *rows]) + "\n", "utf8")
    for i in range(1, 100, 2) if what == "both" else ():   # neither text nor sound: lost once, all the same
        soundfile.write(folder / f"wavs/a{i}.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    words = ["prepare", str(folder), "--out", str(tmp_path / "s"), "--leave-out"]
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert re.search(r"50 of 100 utterances can't be used, more than 1.0%", error) and says in error
    assert not (tmp_path / "s/shards.json").exists()
    assert what == "both" or not list((tmp_path / "s").glob("*.tar"))
    assert cli.main([*words, "--most-lost", "0.6"]) == 0


# ---------------------------------------------------------------- files that unfold

def promise(file: Path, samples: int):
    "Let the header of a FLAC file promise so many samples; 36 bits hold the number."
    data = bytearray(file.read_bytes())
    assert data[:4] == b"fLaC" and data[4] & 127 == 0
    field = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    data[18:26] = field.to_bytes(8, "big")
    file.write_bytes(data)


def silence(file: Path, samples: int):
    "Write a FLAC file of silence, a second at a time."
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as sound:
        second = np.zeros(1 << 20, np.int16)
        for start in range(0, samples, len(second)):
            sound.write(second[:samples - start])


def bomb(kind: str, file: Path):
    "Write a small file that promises, or holds, too much."
    if kind == "2^36 samples":
        soundfile.write(file, tone(0.7), SAMPLE_RATE, "PCM_16", format="FLAC")
        promise(file, 2 ** 36 - 1)
    elif kind == "1 Hz":
        soundfile.write(file, tone(2), 1, "PCM_16", format="WAV")
    elif kind == "10 MHz":
        soundfile.write(file, tone(2), 10_000_000, "PCM_16", format="WAV")
    elif kind == "silence":
        silence(file, BOMB)


BOMBS = {"2^36 samples": "promises 274,878 MB", "1 Hz": "claims 1 samples a second",
         "10 MHz": "claims 10,000,000 samples",
         "silence": "promises"}


@pytest.fixture(scope="module", params=BOMBS)
def small_file(request, tmp_path_factory):
    file = tmp_path_factory.mktemp("bomb") / "a.sound"
    bomb(request.param, file)
    return request.param, file


def test_a_bomb_is_refused_by_its_header(small_file, tmp_path, monkeypatch):
    "Whoever reads it: one line, and not one sample is decoded."
    kind, file = small_file
    if kind == "silence":
        assert file.stat().st_size < 4 * BOMB / 1000, "no bomb: it isn't small"
    def decoded(*_, **__):
        pytest.fail("a sample was decoded")
    monkeypatch.setattr(soundfile.SoundFile, "read", decoded)
    data = file.read_bytes()
    (tmp_path / "x.tar").write_bytes(b"\0" * 512 + data)
    u = Utterance("a", "好", ["hao3"], "ann", "train", tmp_path / "x.tar", 1.0, member=(512, len(data)))
    corpus = Corpus(tmp_path, "x", [u])
    for read, error in ((lambda: load(file), AudioError), (lambda: sound_seconds(file, "x"), AudioError),
                        (lambda: corpus.audio(u), CorpusError)):
        with pytest.raises(error) as caught:
            read()
        assert BOMBS[kind] in str(caught.value) and "\n" not in str(caught.value)
        assert str(caught.value).endswith(("convert it", "cut it into sentences"))


def test_a_corpus_leaves_a_bomb_out_and_says_so(small_file, tmp_path, monkeypatch):
    kind, file = small_file
    folder = write_folder(tmp_path / "c")
    (folder / "wavs/a7.wav").unlink()
    os.link(file, folder / "wavs/a7.wav")
    try:
        ready = prepare(open_corpus(folder), tmp_path / "s", most_lost=0.1, progress=False)
        line, = ready.report
    except DamagedCorpus as error:   # a table of which the reader asks each header for its length
        line = str(error)
    assert "a7" in line and BOMBS[kind] in line


@pytest.mark.parametrize("member", [(0, 10 ** 12), (10 ** 12, 100), (0, SoundLimits.file + 1)])
def test_a_member_is_never_read_beyond_its_archive(tmp_path, member):
    (tmp_path / "x.tar").write_bytes(b"\0" * 1024)
    u = Utterance("a", "好", ["hao3"], "ann", "train", tmp_path / "x.tar", 1.0, member=member)
    for read in (Corpus(tmp_path, "x", [u]).audio, Corpus(tmp_path, "x", [u]).sound_sha256,
                 lambda u: Corpus(tmp_path, "x", [u]).audio_part(u, 0, 5)):
        with pytest.raises(CorpusError, match="takes .* bytes from .* on; 1,024 are there"):
            read(u)
    damaged = Utterance(**{**vars(u), "sha256": "0" * 64})
    assert Corpus(tmp_path, "x", [damaged]).verify() == ["a"]


def test_an_index_with_a_huge_member_is_refused(tmp_path):
    ready = prepare(open_corpus(write_folder(tmp_path / "c")), tmp_path / "s", progress=False)
    index = ready.folder / "train-00000.json"
    said = json.loads(index.read_text("utf8"))
    said["utterances"][0]["member"] = [0, 10 ** 12]
    index.write_text(json.dumps(said), "utf8")
    with pytest.raises(DamagedCorpus, match="no place in an archive"):
        open_corpus(ready.folder)


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "5", '{"name": "x", "utterances": 5, "recipe": ""}',
                                  '{"name": "x", "utterances": [5], "recipe": ""}', '"' * 3])
def test_a_manifest_of_something_else_is_a_typed_error(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(CorpusError, match="manifest.json is damaged in line 1"):
        load_corpus(tmp_path)
