#!/usr/bin/env python3
"""Train a small autoencoder for each size of latent, all equally long, and write how well each rebuilds validation sentences.

`tools/sweep_latents.py` stops and goes on at any time: variants keep their checkpoints in --work, and each row is written when it is done.
"""
import argparse, json, math, sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import torch
from latentspeech.files import MissingExtra
from latentspeech.config import SAMPLE_RATE, AutoencoderConfig, TrainConfig, preset
from latentspeech.corpora import make_embedded_corpus
from latentspeech.judge import Judge
from latentspeech.losses import mel_distance
from latentspeech.metrics import bootstrap_interval, pesq_wb, stoi, syllable_error_rate
from latentspeech.table import record
from latentspeech.tasks import AutoencoderTask, CropDataset
from latentspeech.training import fit
from latentspeech.weights import PretrainedError, weights_hash

STRIDES = {512: (4, 4, 2), 1024: (4, 4, 4), 2048: (8, 4, 4)}                   # samples a frame, at 16 bands
# one thing at a time around the system's own size
VARIANTS = [(16, 1024), (4, 1024), (32, 1024), (8, 1024), (16, 512), (16, 2048)]


def recipe(channels: int, frame: int, options):
    "Return the preset of one variant: the same widths, steps, crops and seed for all."
    network = AutoencoderConfig(channels=options.widths, strides=STRIDES[frame], latent_channels=channels)
    return replace(preset(options.preset), name=f"{channels}x{frame}", autoencoder=network,
                   train_autoencoder=TrainConfig(steps=options.steps, batch=4, seconds=0.34, learning_rate=2e-3,
                                                 warmup=50, ema=0.99, save_every=100, seed=options.seed))


def train(made, clips, options):
    "Train one variant, or go on where it stopped; return its run and the averaged network."
    torch.manual_seed(options.seed)
    task = AutoencoderTask(made, clips)
    run = fit(task, made.train_autoencoder, options.work / made.name, device=options.device, name=f"latent {made.name}")
    task.load_state_dict(run.average.values)
    return run, task.autoencoder.cpu().fuse().eval()


def measure(sounds, references, judge) -> dict:  # pairs (original, copy)
    "Measure copies against their originals, level-matched where the measure asks for it; what is not installed is left out."
    mean = lambda values: sum(values) / len(values)
    row = dict(n=len(sounds), mel_distance=mean([mel_distance(copy[None], original[None]).item() for original,
                                                 copy in sounds]))
    for name, metric in (("pesq_wb", pesq_wb), ("stoi", stoi)):
        try:
            values = [metric(original, copy) for original, copy in sounds]
        except MissingExtra:
            continue
        heard = [v for v in values if not math.isnan(v)]
        row |= {name: mean(heard) if heard else None, f"{name}_failed": len(values) - len(heard)}
    if judge is None:
        return row
    rate = syllable_error_rate(references, judge.transcribe_batch([copy for _, copy in sounds], SAMPLE_RATE))
    return row | dict(zip(("ser_low", "ser_high"), bootstrap_interval(rate)), ser=rate.value)


def rounded(row):
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "data/results/14_latents.json")
    parser.add_argument("--work", type=Path, default=ROOT / "out/sweep_latents")
    parser.add_argument("--preset", default="mini", help="whose corpus and judge")
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 256],
                        help="channels of the small network")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--limit", type=int, default=24, help="so many validation sentences")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    options.widths = tuple(options.widths)
    corpus = make_embedded_corpus(config=preset(options.preset).corpus)
    some = corpus.split("valid")[:options.limit]
    originals, references = [corpus.audio(u) for u in some], [u.pinyin for u in some]
    try:
        judge = Judge.from_pretrained(options.preset)
    except PretrainedError:
        judge = None
    about = dict(seed=options.seed, split_sha256=corpus.split_sha256("valid"), weights_sha256=judge.card["sha256"]
                 if judge else "", split="valid",
                 corpus=corpus.recipe, steps=options.steps, widths=list(options.widths),
                 threads=torch.get_num_threads(), torch=torch.__version__)
    old = json.loads(options.out.read_text()) if options.out.exists() else {}
    same = all(old.get(k) == v for k, v in json.loads(json.dumps(about)).items())  # else begin anew
    rows, clips = old["rows"] if same else [], None
    if not rows:
        rows.append(rounded(dict(name="natural", **measure([(x, x) for x in originals], references, judge))))
    for channels, frame in VARIANTS:
        made = recipe(channels, frame, options)
        if any(r["name"] == made.name for r in rows):
            continue
        clips = clips or CropDataset(corpus, corpus.split("train"), progress=True)
        run, network = train(made, clips, options)
        with torch.inference_mode():
            copies = [network(x[None, None])[0, 0] for x in originals]
        row = dict(name=made.name, channels=channels, frame=frame, numbers_a_second=channels * SAMPLE_RATE / frame,
                   parameters=network.n_parameters,
                   training_seconds=round(run.seconds), weights=weights_hash(network),
                   **measure(list(zip(originals, copies)), references, judge))
        curve = [[h["step"], round(h["mel"], 4)] for h in run.history[:: max(1, len(run.history) // 40)] if "mel" in h]
        rows.append(rounded(row) | dict(curve=curve))
        record(options.out, rows, " ".join(["python tools/sweep_latents.py", *sys.argv[1:]]), **about)
        print(json.dumps({k: v for k, v in rows[-1].items() if k != "curve"}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
