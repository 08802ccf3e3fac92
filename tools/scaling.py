#!/usr/bin/env python3
"""Train a voice from nothing on an eighth, a quarter, half and all of the training sentences, equally long, and mark what each says.

`tools/scaling.py` stops and goes on at any time: latents, checkpoints and finished rows are kept in --work. The smaller sets lie inside the larger ones, every
voice gets the same number of steps and the same decoder. `--corpus FOLDER --speakers tan --weights base --split test` asks the same of a person's recordings.
"""
import argparse, sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import random
import torch
from baselines import add_corpus, command, kept, latent_voice, marks, opened, say, spread
from latentspeech.files import MissingExtra
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import preset as get_preset
from latentspeech.corpora import Corpus
from latentspeech.distances import MCD_CAPTION, world
from latentspeech.judge import Judge
from latentspeech.latents import cache_latents
from latentspeech.table import record
from latentspeech.tasks import VoiceTask, run_card, voice_example
from latentspeech.text import SYMBOLS
from latentspeech.training import fit
from latentspeech.weights import load_weights, save_weights

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of the training sentences")
    parser.add_argument("--steps", type=int, default=1400, help="of training, the same for all")
    parser.add_argument("--batch", type=int, default=4)
    add_corpus(parser)
    parser.add_argument("--limit", type=int, default=60, help="so many sentences of the split")
    parser.add_argument("--n-distance", type=int, default=24, help="of them for MCD")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("out/scaling"))
    parser.add_argument("--out", type=Path, default=ROOT / "data/results/72_scaling.json")
    return parser.parse_args()


def subset(corpus, share, seed=0) -> list:
    "Draw a share of the training sentences; a smaller share lies inside a larger one."
    train = sorted(corpus.split("train"), key=lambda u: u.id)
    random.Random(seed).shuffle(train)
    return train[:max(1, round(share * len(train)))]


def train(args, corpus, share, latents) -> Path:
    "Train one voice, or go on where it stopped; returns the folder of its weights."
    folder = args.work / f"{share:g}-{args.steps}-{args.seed}"
    if list(folder.glob("*-voice.safetensors")):
        return folder
    p = get_preset(args.preset)
    p = replace(p, train_voice=replace(p.train_voice, steps=args.steps, batch=args.batch,
                                       warmup=min(p.train_voice.warmup, 50), save_every=100, seed=args.seed))
    some = subset(corpus, share, args.seed)
    torch.manual_seed(args.seed)
    task = VoiceTask(p, [voice_example(u, latents[u.id], corpus.speakers) for u in some], len(corpus.speakers))
    run = fit(task, p.train_voice, folder, device="cpu", progress=False, name=f"voice on {len(some)} sentences")
    task.load_state_dict(run.average.values)
    save_weights(folder / f"{args.preset}-voice", task, p, run_card(run, Corpus(corpus.folder, corpus.name, some),
                                                                    speakers=corpus.speakers, symbols=SYMBOLS))
    return folder


def main():
    args = options()
    torch.set_num_threads(1)
    corpus, judge = opened(args, get_preset(args.preset)), Judge.from_pretrained(args.weights)
    taught = Corpus(corpus.folder, corpus.name, subset(corpus, max(args.shares), args.seed))
    latents = cache_latents(Autoencoder.from_pretrained(args.weights), taught, args.work / "latents",
                            progress=sys.stderr.isatty())
    utterances = spread(corpus.split(args.split), args.limit)
    try:
        references = [world(corpus.audio(u)) for u in utterances[:args.n_distance]]
    except MissingExtra as error:
        references = []
        print(error)
    key = f"{args.steps}-{args.seed}-{args.limit}-{args.n_distance}"
    rows = kept(args.work / f"natural-{key}.json",
                lambda: marks("natural", lambda: [corpus.audio(u) for u in utterances], judge, utterances, []))
    cards = {}
    for share in sorted(args.shares):
        n, folder = len(subset(corpus, share, args.seed)), train(args, corpus, share, latents)
        spoken = lambda: say(latent_voice(folder, args.weights), utterances)
        rows += kept(args.work / f"row-{share:g}-{key}.json",
                     lambda: [dict(row, share=share, sentences=n)
                              for row in marks(f"{n} sentences", spoken, judge, utterances, references)])
        cards[f"{n} sentences"] = load_weights(folder, "voice")[1]
        print(f"{n} sentences", *(f"{r['metric']} {r['value']:.3f} [{r['low']:.3f}, {r['high']:.3f}]"
                                  if r["value"] is not None else f"{r['metric']} –" for r in rows[-3:]), sep="  ",
              flush=True)
    rows += kept(args.work / f"control-{key}.json",
                 lambda: marks("control: another text",
                               lambda: [corpus.audio(u) for u in utterances[1:] + utterances[:1]], judge,
                               utterances, references))
    print(record(args.out, rows, command(), args.seed, corpus.split_sha256(args.split),
                 {k: c["sha256"] for k, c in cards.items()},
                 split=args.split, judge_sha256=judge.card["sha256"], weights=args.weights, preset=args.preset,
                 corpus=f"{corpus.name} {corpus.recipe[:8]}".strip(), steps=args.steps, batch=args.batch,
                 training_seconds={k: c["training_seconds"] for k, c in cards.items()}, MCD=MCD_CAPTION))


if __name__ == "__main__":
    main()
