#!/usr/bin/env python3
"""Measure how dense latents and mel spectrograms of the same validation sentences are: `tools/compactness.py` writes data/results/14_compactness.json."""
import argparse, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import torch
from latentspeech.experiments.harness import sentence_by_sentence
from latentspeech.audio import mel_spectrogram
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import SAMPLE_RATE, preset
from latentspeech.corpora import make_embedded_corpus
from latentspeech.latents import numbers_a_second, sparsity
from latentspeech.table import measured, record
from dataclasses import asdict


@torch.no_grad()
def views(autoencoder, audio) -> dict:  # name -> [C, L]
    "See one sound as the denoiser would: a latent, or the paper's 80 mel bands, 256 samples apart."
    return {"latent": autoencoder.encode(audio[None, None])[0],
            "mel": mel_spectrogram(audio, n_fft=1024, hop=256, n_mels=80)}


def rows_of(autoencoder, sounds) -> list:
    "Measure numbers a second and sparsity (Hoyer: 0 all alike, 1 a single one) of each sound in both views."
    seen = [views(autoencoder, a) for a in sounds]
    found = {(name, metric): [f(v[name], a) for v, a in zip(seen, sounds)] for name in ("latent", "mel")
             for metric, f in (("numbers a second", lambda x, a: numbers_a_second(x, len(a), SAMPLE_RATE)),
                               ("sparsity", lambda x, a: sparsity(x)))}
    return [asdict(measured(name, metric, values)) | sentence_by_sentence(values) for (name, metric),
            values in found.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=40, help="validation sentences")
    parser.add_argument("--out", type=Path, default=ROOT / "data/results/14_compactness.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    corpus, autoencoder = make_embedded_corpus(config=preset("mini").corpus,
                                               progress=False), Autoencoder.from_pretrained("mini")
    rows = rows_of(autoencoder, [corpus.audio(u) for u in corpus.split("valid")[:args.limit]])
    for row in rows:
        print(*(row[k] for k in ("row", "metric", "value", "low", "high", "n")), sep="  ")
    record(args.out, rows, f"python tools/compactness.py --limit {args.limit}", 0, corpus.split_sha256("valid"),
           dict(autoencoder=autoencoder.card["sha256"]), split="valid")


if __name__ == "__main__":
    main()
