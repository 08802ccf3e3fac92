#!/usr/bin/env python3
"""Measure autoencoders on held-out recordings: `tools/measure_reconstruction.py --corpus FOLDERS --weights base paper=FOLDER "after 20 min"=step-00005000.pt`.

Each network, finished weights or a checkpoint of its training, gets its own rows, beside natural speech, natural speech resampled to 16 kHz and back, WORLD's copy and another text; every set of recordings
is measured whole and on its own. Real recordings are not part of this repository.
"""
import argparse, hashlib, json, shlex, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from latentspeech.autoencoder import Autoencoder
from latentspeech.cli import _corpus
from latentspeech.config import preset as get_preset
from latentspeech.evaluation import ALIGNED, bounds, distances, errors, other_texts, reconstruct
from latentspeech.judge import Judge
from latentspeech.table import ResultsTable, record, recorded
from latentspeech.training import read_checkpoint
from sweep_steps import last_names


def sets_of(utterances: list) -> dict:
    "Name the sets that are measured: one a speaker."
    return {s: [u for u in utterances if u.speaker == s] for s in sorted({u.speaker for u in utterances})}


def load(where: str, preset: str) -> Autoencoder:
    "Load finished weights by name or folder, or the averaged weights of a checkpoint."
    if not where.endswith(".pt"):
        return Autoencoder.from_pretrained(where)
    state = read_checkpoint(Path(where).with_suffix(".json"))
    network = Autoencoder(get_preset(preset).autoencoder)
    network.load_state_dict({k.removeprefix("autoencoder."): v for k, v in state["average"].items()
                             if k.startswith("autoencoder.")})
    network.card = dict(sha256=hashlib.sha256(Path(where).read_bytes()).hexdigest(), steps=state["step"],
                        training_seconds=round(state["seconds"]), batch=state["config"]["batch"])
    return network.fuse().eval()


HEARD = ("SER (in-house)", "tone error")
def known_distances(out: Path, networks: dict, **same) -> dict:
    "Return set -> rows of an earlier record that no judge has a say in, where the sounds are the same: another judge doesn't change them."
    earlier = recorded(out) if out.exists() else {}
    if any(earlier.get(key) != value for key, value in same.items()):
        return {}
    new = {name for name, network in networks.items() if earlier["weights_sha256"].get(name) != network.card["sha256"]}
    rows = [row for row in earlier["rows"] if row["metric"] not in HEARD and row["row"] not in new]
    return {s: ResultsTable.of_record(rows, set=s).rows for s in {row["set"] for row in rows}}


def measure(corpus, utterances, networks, judge, seed, known=()):
    "Yield every row of one set, those in `known` as they are; syllables are counted where they are known."
    natural = [corpus.audio(u) for u in utterances]
    sounds = {"natural": natural, **bounds(natural, seed), "control: another text": other_texts(natural, utterances),
              **{name: reconstruct(network, natural) for name, network in networks.items()}}
    spelt = [i for i, u in enumerate(utterances) if u.pinyin]
    for name, some in sounds.items():
        yield from errors(name, [utterances[i].pinyin for i in spelt],
                          [judge.transcribe_batch([some[i] for i in spelt])], seed)
    done = {row.row for row in known}
    new = {name: some for name, some in sounds.items() if name == "natural" or name not in done}
    yield from [row for row in known if row.row in sounds]
    if len(new) > 1:
        yield from distances(new, seed=seed, aligned=[*ALIGNED, *networks])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True, help="folders, with commas between")
    parser.add_argument("--weights", nargs="+", default=["base"], help="names, or name=folder")
    parser.add_argument("--preset", default="base", help="whose sizes a checkpoint has")
    parser.add_argument("--speakers", default="", help="only these, with commas between")
    parser.add_argument("--judge", default="base")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=0, help="so many of each set; 0 = all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "data/results/70_train_autoencoder.json")
    parser.add_argument("--note", default="", help="said of the machine or the run")
    options = parser.parse_args()
    corpus, judge = _corpus(options.corpus, "base"), Judge.from_pretrained(options.judge)
    named = [w.split("=", 1) if "=" in w else [w, w] for w in options.weights]
    networks, rows, began = {name: load(where, options.preset) for name, where in named}, [], time.time()
    split = corpus.split_sha256(options.split)
    known = known_distances(options.out, networks, split_sha256=split, seed=options.seed, limit=options.limit)
    for name, utterances in sets_of(corpus.split(options.split)).items():
        if options.speakers and name not in options.speakers.split(","):
            continue
        for row in measure(corpus, utterances[:options.limit or None], networks, judge, options.seed,
                           known.get(name, ())):
            rows.append(dict(set=name, **vars(row)))
            print(json.dumps(rows[-1]), flush=True)
    command = shlex.join(["python", "tools/measure_reconstruction.py", "--corpus", last_names(options.corpus),
                          "--weights", *(w if w == name else f"{name}={Path(w).name}" for name, w in named),
                          "--split", options.split,
                          *(["--speakers", options.speakers] if options.speakers else []),
                          *(["--limit", str(options.limit)] if options.limit else [])])
    record(options.out, rows, command, options.seed, split,
           {name: n.card["sha256"] for name, n in networks.items()} | {"judge": judge.card["sha256"]},
           split=options.split, limit=options.limit, note=options.note,
           training={name: {k: n.card[k] for k in ("corpus", "utterances", "steps", "batch", "training_seconds",
                                                   "machine") if k in n.card} for name, n in networks.items()},
           minutes=round((time.time() - began) / 60, 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
