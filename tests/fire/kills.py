"""Kill real trainings at random moments and go on: `python tests/fire/kills.py PART KILLS FOLDER` says how in JSON.

The process that speaks imports everything once and forks one child a training. A child is killed without warning,
mid-save included, and the next goes on; at the end the weights, their average and the history must be those of a run
that nobody disturbed.
"""
from __future__ import annotations
import hashlib, json, os, random, signal, sys, time
from dataclasses import replace
from functools import partial
from pathlib import Path
import torch
from latentspeech.aligner import train_aligner
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import AlignerConfig, preset
from latentspeech.corpora import make_embedded_corpus
from latentspeech.judge import train_judge
from latentspeech.tasks import train_autoencoder, train_decoder, train_voice
from latentspeech.training import latest_checkpoint

torch.set_num_threads(1)
FULL = dict(autoencoder=48, decoder=12, voice=90, judge=72, aligner=120)
SHORT = {part: steps // 3 for part, steps in FULL.items()}    # for a few kills
STEPS = FULL if len(sys.argv) > 2 and int(sys.argv[2]) >= 10 else SHORT


def often(part: str):
    "Return the tiny preset with a checkpoint after every step of a part."
    tiny = preset("tiny")
    name = f"train_{part}"
    return replace(tiny, **{name: replace(getattr(tiny, name), save_every=1, warmup=2)})


def trainings(work: Path) -> dict:
    "Return part -> function that trains it in a folder, as the command line does."
    corpus = make_embedded_corpus(config=preset("tiny").corpus, progress=False)
    weights = work / "first"
    if not weights.exists():
        torch.manual_seed(0)
        Autoencoder(preset("tiny").autoencoder).save_pretrained(weights, "tiny", {})
    quiet = dict(device="cpu", progress=False)
    align = AlignerConfig()
    align = replace(align, width=16, rounds=0, recogniser=replace(align.recogniser, steps=STEPS["aligner"], batch=4,
                                                                  save_every=1, warmup=2))
    return dict(
        autoencoder=lambda folder: train_autoencoder(often("autoencoder"), corpus, folder,
                                                     steps=STEPS["autoencoder"], **quiet),
        decoder=lambda folder: train_decoder(often("decoder"), corpus, folder, str(weights), steps=STEPS["decoder"],
                                             **quiet),
        voice=lambda folder: train_voice(often("voice"), corpus, folder, str(weights), steps=STEPS["voice"], **quiet),
        judge=lambda folder: train_judge(often("judge"), corpus, folder, steps=STEPS["judge"], **quiet),
        aligner=lambda folder: train_aligner(corpus, config=align, folder=folder, progress=False))


def digest(folder: Path) -> str:
    "Name the end of a run: weights, average and history without its clock."
    found = sorted(folder.rglob("step-*.json"))
    state = latest_checkpoint(found[-1].parent)
    h = hashlib.sha256()
    for key in ("task", "average"):
        for name, value in sorted(state[key].items()):
            h.update(name.encode() + value.numpy().tobytes())
    h.update(json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in state["history"]]).encode())
    return h.hexdigest()


def in_a_child(work, after: float | None) -> bool:
    "Do `work` in a forked process; kill it after so many seconds; say whether it ended by itself."
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
    ends = time.monotonic() + (after if after is not None else 600)
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, f"a training that went on failed with status {status}"
            return True
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main(part: str, kills: int, work: Path) -> int:
    "Disturb one kind of training until it was killed so often, and compare every end with the undisturbed one."
    train, draw = trainings(work)[part], random.Random(part)
    began = time.monotonic()
    in_a_child(partial(train, work / f"{part}-whole"), None)
    whole, length = digest(work / f"{part}-whole"), time.monotonic() - began
    killed, runs, lost = 0, 0, 0
    while killed < kills:
        folder, ended = work / f"{part}-{runs}", False
        while not ended:
            before = latest_step(folder)
            # once it was killed often enough it may end; before that, a run lasts some eight kills
            after = draw.uniform(0.05, length / 4) if killed < kills else None
            ended = in_a_child(partial(train, folder), after)
            killed += not ended
            lost += latest_step(folder) < before
        runs += 1
        if digest(folder) != whole:
            print(json.dumps(dict(part=part, killed=killed, runs=runs, lost=lost, same=False)))
            return 1
    drafts = len(list(folder.rglob(".*.draft")))
    print(json.dumps(dict(part=part, killed=killed, runs=runs, lost=lost, same=True, drafts=drafts)))
    return 0


def latest_step(folder: Path) -> int:
    "Return the step of the newest announced checkpoint below a folder; 0 = none yet."
    return max((int(p.stem.split("-")[1]) for p in folder.rglob("step-*.json")), default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
