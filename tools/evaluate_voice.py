#!/usr/bin/env python3
"""Measure a voice on held-out recordings, one table a speaker: `tools/evaluate_voice.py --corpus FOLDERS --voice base`.

Three synthesis seeds, every row and column of lesson 62. Several voices, `--voice base=FOLDER paper=FOLDER`, are marked on the same recordings; each row then names its own.
Real recordings are not part of this repository.
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
from sweep_steps import last_names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True, help="folders, with commas between")
    parser.add_argument("--voice", nargs="+", default=["base"], help="names, folders, or name=folder")
    parser.add_argument("--judge", default=None, help="name or folder; none = the voice's own")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=0, help="so many of each speaker; 0 = all")
    parser.add_argument("--distances", type=int, default=48, help="so many of each speaker for distances and bounds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speakers", default="", help="only these, with commas between")
    parser.add_argument("--out", type=Path, default=ROOT / "data/results/71_train_latentspeech.json")
    parser.add_argument("--note", default="", help="said of the machine or the run")
    options = parser.parse_args()
    named = [v.split("=", 1) if "=" in v else [Path(v).name, v] for v in options.voice]
    corpus, rows, about, began = _corpus(options.corpus, "base"), [], {}, time.time()
    voices = {name: LatentSpeech.from_pretrained(where) for name, where in named}
    several = len(voices) > 1
    for speaker in options.speakers.split(",") if options.speakers else corpus.speakers:
        mine = Corpus(corpus.folder, corpus.name, [u for u in corpus.split(options.split) if u.speaker == speaker
                                                   and u.starts])
        if not len(mine):
            continue
        for name, voice in voices.items():
            table = evaluate(voice, mine, options.limit or None, seed=options.seed, n_seeds=options.seeds,
                             judge=options.judge, n_distance=options.distances, split=options.split)
            which = dict(voice=name) if several else {}
            rows += [dict(set=speaker, **which, **asdict(row)) for row in table.rows]
            about[", ".join([speaker, *which.values()])] = dict(sentences=table.about["sentences"],
                                                                split_sha256=table.about["split_sha256"],
                                                                ordering=check_ordering(table.rows) or "holds")
            print(speaker, *which.values(), table.to_markdown(), sep="\n", flush=True)
    command = " ".join(["python tools/evaluate_voice.py --corpus", last_names(options.corpus), "--voice", *voices,
                        "--split", options.split,
                        *(f"--{key} {value}" for key, value in vars(options).items()
                          if key in ("limit", "distances", "seeds", "speakers") and value != parser.get_default(key))])
    record(options.out, rows, command, options.seed, corpus.split_sha256(options.split),
           {part + f" ({name})" * several: sha for name, voice in voices.items() for part,
            sha in (("voice", voice.card["sha256"]), ("autoencoder", voice.autoencoder.card["sha256"]))}
           | dict(judge=table.about["judge_sha256"]), split=options.split, sets=about, seeds=table.about["seeds"],
           note=options.note, minutes=round((time.time() - began) / 60, 1),
           training={name: {k: voice.card[k] for k in ("corpus", "utterances", "steps", "batch", "training_seconds",
                                                       "machine")} for name, voice in voices.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
