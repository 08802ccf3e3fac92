"""Real mounts: a disk of 3 MB that is full, and one that may only be read: old or new, whole, and one line."""
import json, os, shutil, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parents[2]
INSIDE = ("-rm",)    # a mount namespace of our own, in which we may mount
WRITERS = '''
import json, os, subprocess, sys, warnings
from pathlib import Path
import torch
from dataclasses import replace
sys.path[:0] = [ROOT, ROOT + "/tests", ROOT + "/tests/fire"]
torch.set_num_threads(1)
from test_data import Encoder
from test_shards import write_folder
from test_training import CONFIG, make_task
from latentspeech import audio, cli, training
from latentspeech.corpora import make_embedded_corpus
from latentspeech.config import preset
from latentspeech.files import write_atomically
from latentspeech.latents import cache_latents
from latentspeech.layouts import open_corpus
from latentspeech.shards import prepare
from latentspeech.training import fit, latest_checkpoint
from latentspeech.weights import load_weights, save_tensors
place, corpus = Path(sys.argv[1]), open_corpus(write_folder(Path(sys.argv[2]) / "c"))
quiet = dict(device="cpu", progress=False)

def mount(*words):
    subprocess.run(["mount", *words, str(place)], check=True)

def train(steps):
    fit(make_task(), replace(CONFIG, steps=steps, save_every=1), place / "run", **quiet)

def tensors(version):
    save_tensors(place / "set", {"w": torch.full((200_000,), float(version))}, dict(version=version))

writers = dict(
    training=lambda: train(9),
    weights=lambda: tensors(2),
    shards=lambda: prepare(corpus, place / "shards", size=3, progress=False),
    latents=lambda: cache_latents(Encoder(), corpus, place / "latents", progress=False),
    corpus=lambda: make_embedded_corpus(place / "corpus", preset("tiny").corpus, progress=False),
    file=lambda: write_atomically(place / "a" / "b.txt", b"x" * 100_000),
    sound=lambda: audio.save(place / "a.wav", torch.zeros(50_000)))
told = {}

def outcome(name):
    "Say how a writer ended, and what of the old is whole afterwards."
    try:
        writers[name]()
        told[name] = "done"
    except Exception as error:
        told[name] = f"{type(error).__name__}: {error}"

def whole():
    card = load_weights(place / "set.safetensors", "set")[1]
    return latest_checkpoint(place / "run")["step"] >= 3 and card["version"] == 1

def litter():
    return [p.name for p in place.rglob(".*.draft")] + [p.name for p in place.iterdir() if p.name.startswith(".corpus")]
'''
READ_ONLY = WRITERS + '''
mount("-t", "tmpfs", "none")
train(3)
tensors(1)
mount("-o", "remount,ro")
for name in writers:
    outcome(name)
code = cli.main(["train", "judge", "--preset", "tiny", "--steps", "2", "--out", str(place / "out")])
print(json.dumps(dict(told=told, whole=whole(), litter=litter(), code=code)))
'''
FULL = WRITERS + '''
mount("-t", "tmpfs", "-o", "size=3m", "none")
train(3)
tensors(1)
with open(place / "filler", "wb", buffering=0) as file:
    try:
        while True:
            file.write(b"x" * 4096)
    except OSError:
        pass
for name in writers:
    outcome(name)
state, dirty = whole(), litter()
(place / "filler").unlink()
before, told = told, {}
for name in ("training", "weights", "file", "sound"):    # room again: all go on
    outcome(name)
reached = latest_checkpoint(place / "run")["step"]
print(json.dumps(dict(told=before, whole=state, litter=dirty, again=told, step=reached)))
'''


def inside(code, tmp_path):
    "Run code in a mount namespace; return what it printed last."
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, *INSIDE, "mount", "-t", "tmpfs", "none", str(tmp_path)],
                                     capture_output=True).returncode:
        (pytest.fail if os.environ.get("FIRE") else pytest.skip)("wants unshare -rm: be root, or allow user namespaces")
    (tmp_path / "mount").mkdir()
    done = subprocess.run([unshare, *INSIDE, sys.executable, "-c", f"ROOT = {str(ROOT)!r}\n{code}",
                           str(tmp_path / "mount"), str(tmp_path)], capture_output=True, text=True, timeout=1200,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


TYPES = dict(training="TrainingError", weights="OSError", shards="CorpusError", latents="LatentError",
             corpus="CorpusError", file="OSError", sound="OSError")


def test_a_disk_that_is_full_to_the_brim_loses_nothing(tmp_path):
    found = inside(FULL, tmp_path)
    for name, said in found["told"].items():
        assert said.startswith(f"{TYPES[name]}: "), found["told"]
        assert "\n" not in said and ("No space" in said or "full" in said), said
    assert found["whole"] and not found["litter"]
    assert set(found["again"].values()) == {"done"} and found["step"] == 9, found["again"]


def test_a_mount_that_may_only_be_read_is_said_in_one_line(tmp_path):
    found = inside(READ_ONLY, tmp_path)
    for name, said in found["told"].items():
        assert said.startswith(f"{TYPES[name]}: "), found["told"]
        assert "\n" not in said and "Read-only" in said, said
    assert found["whole"] and not found["litter"] and found["code"] in (1, 2)
