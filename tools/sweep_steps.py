#!/usr/bin/env python3
"""Say held-out sentences with every sampler at several numbers of steps, let a judge listen, and write what more steps buy.

`tools/sweep_steps.py` stops and goes on at any time: each row is written when it is done.
"""
import argparse, json, sys, time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import torch
from latentspeech.cli import _corpus
from latentspeech.config import SAMPLE_RATE
from latentspeech.evaluation import by_speaker, recordings
from latentspeech.judge import Judge
from latentspeech.metrics import bootstrap_interval, syllable_error_rate, tone_error_rate
from latentspeech.reverse_diffusion import SAMPLERS
from latentspeech.synthesis import LatentSpeech
from latentspeech.table import record
from latentspeech.tasks import machine

STEPS = (1, 2, 4, 8, 16, 50)


def encoded(tts, utterances, size=8) -> list:
    "Read and encode utterances once, for all samplers: (their places, what the denoiser is told) of each batch."
    batches = []
    for speaker, some in by_speaker(utterances, size):
        phones, who = [tts.phones(utterances[i].text)
                       for i in some], tts.speaker_number(speaker if speaker in tts.speakers else None)
        batches.append((some, tts.encode(phones, [who] * len(phones))))
    return batches


def walked(tts, batches, diffusion, seed=0) -> tuple:  # latents [16, L] in the order of the utterances, seconds
    "Sample every batch, and time it: the processor's own time on a CPU that others use too, the clock's on a GPU."
    latents, clock = {}, time.process_time if tts.device.type == "cpu" else time.perf_counter
    started = clock()
    for some, out in batches:
        latents |= {i: z.cpu() for i, z in zip(some, tts.walk(out, [seed] * len(some), diffusion))}
    return [latents[i] for i in sorted(latents)], clock() - started


@torch.no_grad()
def decoded(tts, latents) -> list:
    return [tts.autoencoder.decode(z[None].to(tts.device))[0, 0].cpu() for z in latents]


def marks(judge, utterances, sounds) -> dict:
    "Count wrong syllables and wrong tones, with intervals."
    said, heard, found = [u.pinyin for u in utterances], judge.transcribe_batch(sounds), dict(n=len(sounds))
    for name, metric in (("ser", syllable_error_rate), ("tone", tone_error_rate)):
        rate = metric(said, heard)
        low, high = bootstrap_interval(rate)
        found |= {name: rounded(rate.value), f"{name}_low": rounded(low), f"{name}_high": rounded(high)}
    return found


def rounded(value):
    return round(value, 5) if value == value else None   # no tone to judge where no syllable is right


def measure(tts, judge, utterances, batches, diffusion, seed, goal) -> dict:
    "Make one row: what one sampler says in so many steps, and how far its latents are from `goal` (root mean square)."
    calls = (2 * diffusion.n_steps - 1 if diffusion.sampler == "heun"
             else diffusion.n_steps) * (1 if diffusion.guidance == 1 else 2)
    latents, seconds = walked(tts, batches, diffusion, seed)
    sounds = decoded(tts, latents)
    return dict(row=f"{diffusion.sampler}, {diffusion.n_steps}", sampler=diffusion.sampler, steps=diffusion.n_steps,
                calls=calls, seconds=round(seconds, 2),
                real_time_factor=rounded(seconds * SAMPLE_RATE / sum(map(len, sounds))),
                away=rounded((torch.cat(latents, 1) - goal).square().mean().sqrt().item()),
                **marks(judge, utterances, sounds))


def last_names(argument: str) -> str:
    "Leave the last name of each folder in a list with commas: a record names no machine's folders."
    return ",".join(Path(one).name if "/" in one else one for one in argument.split(","))


class Rows(list):
    "Rows of a record, each written when it is added; those of an unfinished record of the very same work are there already."
    def __init__(self, path, about):
        old, self.path, self.about = json.loads(path.read_text()) if path.exists() else {}, path, about
        super().__init__(old["rows"] if all(old.get(k) == v for k, v in json.loads(json.dumps(about)).items()) else [])

    def missing(self, name):
        return all(row["row"] != name for row in self)

    def add(self, row):
        self.append(row)
        record(self.path, list(self),
               " ".join(["python", f"tools/{Path(sys.argv[0]).name}", *map(last_names, sys.argv[1:])]), **self.about)
        print(json.dumps(row), flush=True)


def options(about, out):
    "Read what both of the tools that mark step counts are told."
    parser = argparse.ArgumentParser(description=about.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--voice", default="mini", help="a name or a folder")
    parser.add_argument("--judge", default="", help="a name or a folder; none = the voice's")
    parser.add_argument("--corpus", default="embedded", help="folders, with commas between")
    parser.add_argument("--split", default="valid", choices=("test", "valid"))
    parser.add_argument("--limit", type=int, default=0, help="so many sentences; 0 = all")
    parser.add_argument("--seed", type=int, default=0, help="of the synthesis")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "data/results" / out)
    return parser


def opened(args) -> tuple:
    "Return voice, judge, corpus, and the utterances to say: those whose pinyin is known."
    tts, judge = LatentSpeech.from_pretrained(args.voice, args.device), Judge.from_pretrained(args.judge or args.voice)
    corpus = _corpus(args.corpus, tts.preset.name)
    return tts, judge, corpus, [u for u in corpus.split(args.split) if u.pinyin][:args.limit or None]


def described(args, tts, judge, corpus, utterances) -> dict:
    "Say what is measured: whatever differs here is other work."
    hashes = dict(voice=tts.card["sha256"], autoencoder=tts.autoencoder.card["sha256"], judge=judge.card["sha256"])
    return dict(seed=args.seed, split_sha256=corpus.split_sha256(args.split), weights_sha256=hashes,
                voice=f"{tts.preset.name} ({Path(args.voice).name})",
                corpus=corpus.name, split=args.split, sentences=len(utterances), device=machine(args.device))


def add_controls(rows, tts, judge, corpus, utterances):
    "Add what no sampler changes: natural speech, its reconstruction, and the recordings of other texts."
    if not rows.missing("control: another text"):
        return
    for name, sounds in recordings(tts, corpus, utterances).items():
        if rows.missing(name):
            rows.add(dict(row=name, sampler=None, **marks(judge, utterances, sounds)))


def main() -> int:
    args = options(__doc__, "60_steps.json").parse_args()
    tts, judge, corpus, utterances = opened(args)
    rows, batches = Rows(args.out, described(args, tts, judge, corpus, utterances)), encoded(tts, utterances)
    add_controls(rows, tts, judge, corpus, utterances)
    asked = [replace(tts.preset.diffusion, sampler=sampler, n_steps=n) for n in STEPS for sampler in SAMPLERS]
    asked = [d for d in asked if rows.missing(f"{d.sampler}, {d.n_steps}")]
    if asked:
        goal = torch.cat(walked(tts, batches, replace(tts.preset.diffusion, sampler="heun", n_steps=STEPS[-1]),
                                args.seed)[0], 1)
    for d in asked:
        rows.add(measure(tts, judge, utterances, batches, d, args.seed, goal))
    return 0


if __name__ == "__main__":
    sys.exit(main())
