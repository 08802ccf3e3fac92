#!/usr/bin/env python3
"""Train the aligner on whole corpora and record its errors: tools/measure_aligner.py --words FOLDER --figure nbs/images/hand_starts.png

Real recordings are not part of this repository; without --words the embedded corpus alone is measured.
"""
import argparse, csv, json, os, platform, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from latentspeech.aligner import measure_aligner, syllable_starts, train_aligner
from latentspeech.audio import setup_plots, show_spectrogram
from latentspeech.corpora import make_embedded_corpus
from latentspeech.readers import open_corpus


def read_hand_starts(split):
    "Return id -> seconds at which its syllables start, as marked by hand; milliseconds in the file."
    with open(ROOT / "tests/data/hand_starts.tsv", encoding="utf8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["split"] == split]
    return {row["id"]: [int(ms) / 1000 for ms in row["starts"].split()] for row in rows}


def draw(aligner, corpus, hand, file):
    "Write a picture of the clips: the upper half of each line is marked by hand (solid), the lower by the aligner (dotted)."
    from PIL import Image
    setup_plots()
    figure, axes = plt.subplots(5, 4, figsize=(11, 9))
    for ax, (name, starts) in zip(axes.flat, hand.items()):
        u, audio = corpus[name], corpus.audio(corpus[name])
        show_spectrogram(audio, ax=ax, f_max=8000, hop=256, n_fft=512,
                         title=" ".join(u.pinyin)).set(xlabel="", ylabel="")
        for s in starts:
            ax.axvline(s, 0.5, 1, c="w", lw=2)
        for s in syllable_starts(aligner.align(audio, u.symbols, u.tones, pauses=True)):
            ax.axvline(s, 0, 0.5, c="w", ls=":", lw=2)
    figure.savefig(file, dpi=72)
    Image.open(file).convert("RGB").quantize(20).save(file, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", help="folder of recorded words, whose starts tests/data/hand_starts.tsv holds")
    parser.add_argument("--figure", help="PNG to write of those clips")
    parser.add_argument("--out", default=ROOT / "data/results/42_aligner.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", help="folder where trained aligners are kept")
    options = parser.parse_args()
    jobs, rows = [("every phone", make_embedded_corpus(), {"test": None})], []
    if options.words:
        jobs += [("syllables marked by hand", open_corpus(options.words),
                  {split: read_hand_starts(split) for split in ("valid", "test")})]
    for what, corpus, splits in jobs:
        began = time.time()
        aligner = train_aligner(corpus, seed=options.seed)
        minutes = round((time.time() - began) / 60, 1)
        for split, hand in splits.items():
            row = dict(row=f"{corpus.name}, {split}: {what}", split=split, split_sha256=corpus.split_sha256(split),
                       seed=options.seed,
                       training_minutes=minutes, **measure_aligner(aligner, corpus, split, hand))
            rows.append(row)
            print(json.dumps(row), flush=True)
            if split == "valid" and options.figure:
                draw(aligner, corpus, hand, options.figure)
        if options.keep:
            torch.save(aligner.state_dict(), Path(options.keep) / f"{corpus.name}.pt")
    command = "python tools/measure_aligner.py" + (f" --words {Path(options.words).name}" if options.words else "")
    machine = (f"{os.cpu_count()} cores ({torch.get_num_threads()} used), {platform.machine()}, torch "
               f"{torch.__version__}")
    Path(options.out).write_text(json.dumps(dict(command=command, date=time.strftime("%Y-%m-%d"), machine=machine,
                                                 rows=rows), indent=1) + "\n", "utf8")


if __name__ == "__main__":
    main()
