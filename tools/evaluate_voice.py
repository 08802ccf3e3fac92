#!/usr/bin/env python3
"""Measure a voice on held-out recordings, one table a speaker: `tools/evaluate_voice.py --corpus FOLDERS --voice base`.

Three synthesis seeds, every row and column of lesson 18b. Real recordings are not part of this repository.
"""
import argparse, sys, time
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from latentspeech.cli import _corpus
from latentspeech.corpora import Corpus
from latentspeech.evaluation import evaluate
from latentspeech.synthesis import LatentSpeech
from latentspeech.table import check_ordering, record


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True, help="folders, with commas between")
    parser.add_argument("--voice", default="base", help="name or folder")
    parser.add_argument("--judge", default=None, help="name or folder; none = the voice's own")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=0, help="so many of each speaker; 0 = all")
    parser.add_argument("--distances", type=int, default=48, help="so many of each speaker for distances and bounds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speakers", default="", help="only these, with commas between")
    parser.add_argument("--out", type=Path, default=ROOT / "data/results/21_train_latentspeech.json")
    parser.add_argument("--note", default="", help="said of the machine or the run")
    options = parser.parse_args()
    corpus, voice, rows, about, began = _corpus(options.corpus, "base"), LatentSpeech.from_pretrained(options.voice), [], {}, time.time()
    for speaker in options.speakers.split(",") if options.speakers else corpus.speakers:
        mine = Corpus(corpus.folder, corpus.name, [u for u in corpus.split(options.split) if u.speaker == speaker and u.starts])
        if not len(mine): continue
        table = evaluate(voice, mine, options.limit or None, seed=options.seed, n_seeds=options.seeds, judge=options.judge, n_distance=options.distances, split=options.split)
        rows += [dict(set=speaker, **asdict(row)) for row in table.rows]
        about[speaker] = dict(sentences=table.about["sentences"], split_sha256=table.about["split_sha256"], ordering=check_ordering(table.rows) or "holds")
        print(speaker, table.to_markdown(), sep="\n", flush=True)
    command = f"python tools/evaluate_voice.py --corpus {','.join(Path(c).name for c in options.corpus.split(','))} --voice {Path(options.voice).name} --split {options.split}"
    record(options.out, rows, command, options.seed, corpus.split_sha256(options.split),
           dict(voice=voice.card["sha256"], autoencoder=voice.autoencoder.card["sha256"], judge=table.about["judge_sha256"]), split=options.split, sets=about,
           seeds=table.about["seeds"], note=options.note, minutes=round((time.time() - began) / 60, 1),
           training={k: voice.card[k] for k in ("corpus", "utterances", "steps", "batch", "training_seconds", "machine")})
    return 0


if __name__ == "__main__": sys.exit(main())
