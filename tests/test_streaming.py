"""A corpus that is larger than memory trains as one that fits: the same crops, in bounded memory."""
import json, os, signal, subprocess, sys
from dataclasses import replace
from pathlib import Path
import pytest, torch
from latentspeech.config import FRAME, SAMPLE_RATE, SoundLimits, preset
from latentspeech.corpora import CorpusError, make_embedded_corpus
from latentspeech.gpu_run import DeviceClips
from latentspeech.shards import prepare
from latentspeech.tasks import AutoencoderTask, CropDataset
from latentspeech.training import fit, step_generator

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    "The tiny corpus in shards."
    corpus = make_embedded_corpus(config=preset("tiny").corpus, progress=False)
    return prepare(corpus, tmp_path_factory.mktemp("packed") / "s", size=16, progress=False)


@pytest.mark.parametrize("loose", [False, True])
def test_crops_that_are_read_are_those_that_are_kept(packed, loose):
    corpus = make_embedded_corpus(config=preset("tiny").corpus, progress=False) if loose else packed
    rows = corpus.split("train")
    kept, read = CropDataset(corpus, rows), CropDataset(corpus, rows, held=0)
    assert kept.samples is not None and read.samples is None and kept.lengths.equal(read.lengths)
    for n_samples in (1024, 16 * 1024, 10 * SAMPLE_RATE):      # the last is longer than any sentence
        for step in range(4):
            one, other = (clips.crops(step_generator(0, step), 8, n_samples) for clips in (kept, read))
            assert one.equal(other) and one.abs().max() > 0


def test_what_fits_is_kept_and_one_byte_less_is_not(packed):
    rows = packed.split("train")
    size = 2 * sum(round(u.seconds * SAMPLE_RATE) for u in rows)
    assert CropDataset(packed, rows, held=size).samples is not None
    assert CropDataset(packed, rows, held=size - 1).samples is None


@pytest.mark.parametrize("first, count", [(0, 1), (1, 4096), (4095, 2), (5000, 9999), (0, 10 ** 7)])
def test_a_part_is_a_part_of_the_whole(packed, first, count):
    for u in list(packed)[::9]:
        assert packed.audio_part(u, first, count).equal(packed.audio(u)[first:first + count])


def test_a_shard_that_was_damaged_meanwhile_is_named(packed, tmp_path):
    u = packed.split("train")[0]
    (tmp_path / "x.tar").write_bytes(b"\0" * sum(u.member))
    with pytest.raises(CorpusError, match=f"x.tar: {u.id} is no sound.*fetch it again"):
        packed.audio_part(replace(u, path=tmp_path / "x.tar"), 0, 9)
    (tmp_path / "x.tar").write_bytes(b"\0" * 9)
    with pytest.raises(CorpusError, match="9 are there"):
        packed.audio_part(replace(u, path=tmp_path / "x.tar"), 0, 9)


def test_training_that_reads_resumes_to_the_same_weights_as_training_that_keeps(packed, tmp_path):
    tiny, rows = preset("tiny"), packed.split("train")
    config = replace(tiny.train_autoencoder, steps=4, batch=2)

    def train(folder, steps, held):
        torch.manual_seed(0)
        task = AutoencoderTask(tiny, CropDataset(packed, rows, held=held))
        def stop(run, terms):
            if run.step == steps < config.steps:
                signal.raise_signal(signal.SIGINT)
        run = fit(task, config, tmp_path / folder, device="cpu", progress=False, callback=stop)
        return {k: v.clone() for k, v in run.task.state_dict().items()}, run.step
    kept, _ = train("kept", 4, SoundLimits.held)
    assert train("read", 2, 0)[1] == 2
    read, step = train("read", 4, 0)
    assert step == 4 and all(v.equal(read[k]) for k, v in kept.items())


BIG = """
import json, resource, sys
from dataclasses import replace
from latentspeech.config import FRAME, SAMPLE_RATE
from latentspeech.corpora import Corpus
from latentspeech.layouts import open_corpus
from latentspeech.tasks import CropDataset
from latentspeech.training import step_generator
packed = open_corpus(sys.argv[1])
some, rows = packed.split("train"), []
size = 0
while size < 50e9:                     # bytes of samples
    u = some[len(rows) % len(some)]
    lists = {k: list(getattr(u, k)) for k in ("pinyin", "symbols", "tones", "starts")}
    rows.append(replace(u, id=f"{u.id}-{len(rows)}", **lists))
    size += 2 * round(u.seconds * SAMPLE_RATE)
clips = CropDataset(Corpus(packed.folder, "big", rows), rows)
for step in range(50):
    crops = clips.crops(step_generator(0, step), 8, 16 * FRAME)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(dict(size=size, utterances=len(rows), peak=peak, loud=float(crops.abs().max()))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak of memory")
def test_fifty_gigabytes_of_shards_take_two_of_memory(packed):
    done = subprocess.run([sys.executable, "-c", BIG, str(packed.folder)], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["size"] >= 50e9 and told["utterances"] > 50_000 and told["loud"] > 0
    assert told["peak"] <= 2e9, told


def test_of_several_places_a_crop_is_cut_from_the_loudest():
    corpus = make_embedded_corpus(config=preset("tiny").corpus, progress=False)
    clips = CropDataset(corpus, corpus.split("train"))
    on_device = DeviceClips(corpus, corpus.split("train"))
    for held in (clips, on_device):
        def power(looks):
            crops = held.crops(torch.Generator().manual_seed(0), 64, 8 * FRAME, looks)
            assert crops.shape == (64, 1, 8 * FRAME)
            return crops.square().mean()
        assert power(1) < power(2) < power(5)
