#!/usr/bin/env python3
"""Let two judges mark the same sounds, and write how good each is on natural speech, and whether they agree.

`tools/second_judge.py --judge base --second out/judge-2 --corpus embedded FOLDER --voice base` stops and goes on at any time: what a judge heard is kept in --work.
`--train-second MINUTES` first trains a judge of another seed on the same corpora, where the folder of --second holds none. `--second whisper:small` asks a text recogniser.
"""
import argparse, random, sys
from dataclasses import asdict, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import numpy as np, torch
from baselines import kept
from latentspeech.config import preset
from latentspeech.corpora import make_embedded_corpus
from latentspeech.distances import world_copy
from latentspeech.evaluation import by_speaker, recordings, utterance_phones
from latentspeech.judge import calibrate, train_judge
from latentspeech.listening import bad_control
from latentspeech.metrics import (
    align,
    bootstrap_interval,
    paired_interval,
    split_tone,
    syllable_error_rate,
    tone_error_rate,
    toned_syllable_error_rate,
)
from latentspeech.readers import join, open_corpus
from latentspeech.recognisers import RECOGNISERS, recogniser
from latentspeech.synthesis import LatentSpeech
from latentspeech.table import measured, record
from latentspeech.files import MissingExtra

METRICS = {"SER (in-house)": syllable_error_rate, "tone error": tone_error_rate}
# what a judge must reach: errors on natural speech, distance of the slope from 1
MOST, SLOPE = 0.05, 0.1
SHARES = (0, 0.05, 0.1, 0.2, 0.4)                # of planted errors


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--judge", default="mini", help="name, file or folder")
    parser.add_argument("--second", default="out/second-judge",
                        help="name, file or folder; or whisper:small, paraformer, sensevoice")
    parser.add_argument("--corpus", nargs="+", default=["embedded"], help="folders; embedded = the one made here")
    parser.add_argument("--speakers", default="",
                        help="in a corpus that has them, only what these said, with commas between")
    parser.add_argument("--voice", default="", help="name or folder; none = natural speech and controls only")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=None, help="so many utterances of each corpus, drawn with --seed")
    parser.add_argument("--preset", default="mini",
                        help="size of the embedded corpus, and of a second judge trained here")
    parser.add_argument("--train-second", type=float, default=0, metavar="MINUTES",
                        help="train the second judge if it isn't there")
    parser.add_argument("--train-steps", type=int, default=None)
    parser.add_argument("--train-batch", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("out/second_judge"))
    parser.add_argument("--out", type=Path, default=ROOT / "data/results/53_judge.json")
    return parser.parse_args()


def train_second(args, corpora):
    "Train a judge of the same recipe, from another seed."
    p = preset(args.preset)
    p = replace(p, train_judge=replace(p.train_judge, seed=args.seed + 1, steps=args.train_steps
                                       or p.train_judge.steps))
    train_judge(p, join(list(corpora.values())) if len(corpora) > 1 else next(iter(corpora.values())), args.second,
                minutes=args.train_second, batch=args.train_batch, device="cpu")


def drawn(corpus, args):
    "Draw utterances of a split that say what was said in them, by the speakers that are wanted where the corpus has one."
    wanted = {s.strip() for s in args.speakers.split(",")} & set(corpus.speakers)
    some = [u for u in corpus.split(args.split) if u.pinyin and (u.symbols or not args.voice)
            and (u.speaker in wanted or not wanted)]
    return random.Random(args.seed).sample(some, min(args.limit or len(some), len(some)))


def sounds(corpus, utterances, tts):
    "Yield each row of the table and its sounds, one an utterance."
    natural = [corpus.audio(u) for u in utterances]
    yield "natural", natural
    if tts:
        made = recordings(tts, corpus, utterances)
        yield "reconstruction", made["reconstruction"]
        yield "TTS", speak(tts, utterances)
    yield "control: another text", natural[1:] + natural[:1]
    try:
        yield "control: tones flattened", [world_copy(a, flatten=True) for a in natural]
    except MissingExtra as error:
        print(error)
    yield "control: 0 dB noise", [bad_control(a, k) for k, a in enumerate(natural)]


def speak(tts, utterances):
    "Say what each utterance says, with its speaker where the voice knows him."
    said = [None] * len(utterances)
    for speaker, some in by_speaker(utterances):
        who = speaker if speaker in tts.speakers else None
        for i, speech in zip(some, tts.speak_phones([utterance_phones(utterances[i]) for i in some], 0, who)):
            said[i] = speech.audio
    return said


def hears_tones(judge):
    return getattr(judge, "hears_tones", True)


def right(said, heard) -> list:
    "Say of each syllable that was said whether it was heard, whatever its tone."
    pairs = align([split_tone(s)[0] for s in said], [split_tone(h)[0] for h in heard])
    return [r == h for r, h in pairs if r is not None]


def kappa(a, b) -> float | None:
    "Cohen's kappa of two lists of verdicts: agreement beyond chance; None where one of them never varies."
    a, b = np.array(a, float), np.array(b, float)
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    return None if chance > 1 - 1e-9 else float(((a == b).mean() - chance) / (1 - chance))


def agreement(said, first, second, tones) -> dict:
    "How often two judges hear the same syllable, and whether they find the same ones wrong."
    measure = toned_syllable_error_rate if tones else syllable_error_rate
    # nothing heard by both is agreement
    rate = measure([a or ["-"] for a in first], [b or ["-"] for b in second])
    low, high = bootstrap_interval(rate)
    verdicts = [[v for s, h in zip(said, heard) for v in right(s, h)] for heard in (first, second)]
    return dict(metric="agreement", value=1 - float(rate), low=1 - high, high=1 - low, n=rate.n, kappa=kappa(*verdicts))


def slope(said, heard, kind, seed=0, n=2000) -> dict:
    "The calibration line through planted errors, with an interval over utterances."
    found = calibrate(said, heard, kind, SHARES, seed)
    counts = np.random.default_rng(seed).multinomial(len(said), np.full(len(said), 1 / len(said)), n)
    drawn = np.stack([(counts @ r.per_utterance[0]) / (counts @ r.per_utterance[1]) for r in found.measured])
    low, high = np.quantile(np.polyfit(SHARES, drawn, 1)[0], [0.025, 0.975])
    return dict(metric=f"slope, {kind}", value=found.slope, low=float(low), high=float(high), n=len(said),
                planted=list(SHARES), measured=[float(r) for r in found.measured])


def compare(name, row, said, heard, tones) -> list:
    "All rows of one kind of sound: errors of both judges, their paired differences, their agreement."
    first, second = heard
    rows = []
    for metric, measure in list(METRICS.items())[: 2 if tones else 1]:
        rates = [measure(said, h) for h in heard]
        rows += [dict(corpus=name, judge=who, **asdict(measured(row, metric, rate))) for who,
                 rate in zip(("first", "second"), rates)]
        value, low, high = paired_interval(rates[1], rates[0])
        rows.append(dict(corpus=name, row=row, judge="second - first", metric=metric, value=value, low=low,
                         high=high, n=len(said)))
    return rows + [dict(corpus=name, row=row, judge="both", **agreement(said, first, second, tones))]


def acceptance(rows) -> dict:
    "Hold the rows against what a judge must reach; each demand is met, missed, or None where nothing was measured."
    pick = lambda **want: [r for r in rows if all(r.get(k) == v for k, v in want.items())]
    natural = pick(row="natural", judge="first")
    every = lambda some, good: all(map(good, some)) if some else None
    def agree(metric):  # on natural speech and on what the voice says, one judge's figure lies in the other's interval
        pairs = [(a, b) for a in pick(judge="first", metric=metric) if not a["row"].startswith("control")
                 for b in pick(judge="second", metric=metric, row=a["row"], corpus=a["corpus"])]
        return every(pairs, lambda p: p[0]["low"] <= p[1]["value"] <= p[0]["high"]
                     or p[1]["low"] <= p[0]["value"] <= p[1]["high"])
    return {f"SER on natural speech <= {MOST:.0%}": every([r for r in natural if r["metric"] == "SER (in-house)"],
                                                          lambda r: r["value"] <= MOST),
            f"tone error on natural speech <= {MOST:.0%}": every([r for r in natural
                                                                  if r["metric"] == "tone error"],
                                                                 lambda r: r["value"] <= MOST),
            f"slopes 1 +- {SLOPE}": every([r for r in natural if r["metric"].startswith("slope")],
                                          lambda r: abs(r["value"] - 1) <= SLOPE),
            "the second judge agrees on SER within the intervals": agree("SER (in-house)"),
            "the second judge agrees on tones within the intervals": agree("tone error")}


def command(args) -> str:
    "What makes the record again; of a path its last name, since folders differ from machine to machine."
    last = lambda name: name if name.partition(":")[0] in RECOGNISERS else Path(name).name
    parts = [f"--judge {last(args.judge)} --second {last(args.second)} --corpus {' '.join(map(last, args.corpus))}",
             f"--speakers {args.speakers}" if args.speakers else "", f"--voice {last(args.voice)}" if args.voice
             else "",
             f"--split {args.split} --preset {args.preset} --seed {args.seed}", f"--limit {args.limit}"
             if args.limit else ""]
    return " ".join(["python tools/second_judge.py", *filter(None, parts)])


def main():
    args = options()
    torch.set_num_threads(1)
    corpora = {Path(f).name: make_embedded_corpus(config=preset(args.preset).corpus, progress=False)
               if f == "embedded" else open_corpus(f, strict=False) for f in args.corpus}
    if args.train_second and not list(Path(args.second).glob("*.safetensors")):
        train_second(args, corpora)
    judges = {"first": recogniser(args.judge), "second": recogniser(args.second)}
    tts = LatentSpeech.from_pretrained(args.voice) if args.voice else None
    sha = {who: judge.card["sha256"] if hears_tones(judge) else judge.name for who,
           judge in judges.items()} | ({"voice": tts.card["sha256"], "autoencoder": tts.autoencoder.card["sha256"]}
                                       if tts else {})
    tones, rows = all(map(hears_tones, judges.values())), []
    for name, corpus in corpora.items():
        utterances = drawn(corpus, args)
        said = [[p for p in u.pinyin if p not in ("sil", "sp")] for u in utterances]
        key = f"{name}-{corpus.split_sha256(args.split)[:8]}-{args.speakers.replace(',', '+')}-{args.limit}-{args.seed}"
        for row, some in sounds(corpus, utterances, tts):
            made = "" if row == "natural" or row.startswith("control") else "-" + sha["voice"][:8]
            heard = [
                kept(
                    args.work
                    / f"{key}-{row.replace(' ', '_').replace(':', '')}{made}-{sha[who][:12].replace('/', '_')}.json",
                    lambda: judge.transcribe_batch(some),
                )
                for who, judge in judges.items()
            ]
            rows += compare(name, row, said, heard, tones)
            if row == "natural":
                rows += [dict(corpus=name, row=row, judge=who, **slope(said, h, kind, args.seed)) for who,
                         h in zip(judges, heard) for kind in ("syllables", "tones") if tones or (kind == "syllables")]
            for r in rows:
                if (r["corpus"], r["row"]) == (name, row):
                    print(f"{name:12}{row:26}{r['judge']:16}{r['metric']:18}{r['value']:.3f} [{r['low']:.3f}, "
                          f"{r['high']:.3f}]  n = {r['n']}", flush=True)
    met = acceptance(rows)
    print(*(f"{'met' if ok else 'not measured' if ok is None else 'MISSED':14}{demand}" for demand,
            ok in met.items()), sep="\n")
    cards = {who: {k: judge.card.get(k) for k in ("corpus", "utterances", "steps", "seed", "training_seconds",
                                                  "machine")} if hears_tones(judge)
             else dict(recogniser=judge.name) for who, judge in judges.items()}
    print(record(args.out, rows, command(args), args.seed,
                 {n: c.split_sha256(args.split) for n, c in corpora.items()}, sha,
                 split=args.split, judges=cards, acceptance=met,
                 agreement="one judge's figure lies in the other's 95 % interval, in every row but the controls"))


if __name__ == "__main__":
    main()
