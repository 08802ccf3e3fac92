#!/usr/bin/env python3
"""Measure what LatentSpeech, mel diffusion, band diffusion and the paper's configuration cost, and write the figures as JSON:
tools/efficiency.py --threads 2 --out data/results/74_efficiency.json

Networks have first weights: what they say is noise, what it costs is the same. Every lap of every part is kept in --folder, so the command goes on
where it stopped. Times are taken in turns, A B A B; memory is that of one process for each system. With --device cuda, times are taken
with CUDA events and memory is `torch.cuda.max_memory_allocated`.
"""
import argparse, json, os, resource, shlex, subprocess, sys, time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
# the profiler says when it starts and stops; torch reads this while it is imported
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from latentspeech.experiments.harness import kept
from latentspeech.baselines import BandRepresentation, Voice, baseline_example, untrained
from latentspeech.cli import time_interleaved
from latentspeech.config import FRAME, FRAME_RATE, PRESETS, SAMPLE_RATE, Preset
from latentspeech.corpora import make_embedded_corpus
from latentspeech.denoiser import Denoiser
from latentspeech.encoder import Attention, TextEncoder
from latentspeech.gpu_sampling import seconds_of
from latentspeech.pqmf import PQMF
from latentspeech.reverse_diffusion import draw_noise, sample
from latentspeech.table import record
from latentspeech.tasks import VoiceTask
from latentspeech.text import SYMBOLS, front_end
from latentspeech.training import step_generator
from latentspeech.weights import weights_hash

OURS = "LatentSpeech"                       # what all ratios are against
SYSTEMS = (OURS, "mel diffusion", "band diffusion", "the paper's")
FOLDS = (16, 32, 64)                        # "band diffusion" itself folds 8 neighbours into a column
STEPS, LENGTHS, TEN = (1, 2, 4, 8, 16, 50), (1, 2, 5, 10, 20, 40), 10.0
PARTS = {"encoder": "text encoder", "denoiser": "denoiser", "autoencoder": "decoder"}


# What is measured

def build(name: str, preset: Preset = PRESETS["mini"], seed: int = 0) -> Voice:
    "Build a system with first weights; \"bands x 32\" is band diffusion with 32 neighbours in a column."
    torch.manual_seed(seed)
    if name.startswith("bands x "):
        bands, speakers = BandRepresentation(int(name.split()[-1])), ("female", "male")
        encoder = TextEncoder(preset.encoder, len(SYMBOLS), n_speakers=len(speakers), channels=bands.channels)
        voice = Voice(preset, bands, encoder, Denoiser(preset.denoiser, preset.encoder.width, bands.channels), speakers)
    else:
        known = {OURS: ("latentspeech", preset), "the paper's": ("latentspeech", PRESETS["paper"])}
        voice = untrained(*known.get(name, (name.replace(" ", "_"), preset)))
    nn.init.normal_(voice.denoiser.leave[-1].weight, std=0.05)   # zero at first: there would be nothing to compute with
    if hasattr(voice.autoencoder, "fuse"):
        voice.autoencoder.fuse()
    return voice


def sentence(seconds: float) -> tuple:  # Phones, [N] durations in latent frames
    "Return what is said in so many seconds at four and a half syllables a second."
    text = ("今天天气很好，我们一起去公园散步，" * (1 + int(seconds)))[:max(1, round(4.5 * seconds))]
    phones = front_end(text)
    return phones, torch.linspace(0, round(seconds * FRAME_RATE), len(phones) + 1).round().long().diff()


def speaking(voice: Voice, seconds: float, n_steps: int = 8, batch: int = 1):
    "Set up the way from phones to sound, and return the function that goes it: text encoder, `n_steps` of the sampler, decoder."
    d, (phones, durations), hop = voice.preset.diffusion, sentence(seconds), voice.autoencoder.hop
    many = lambda row: torch.as_tensor(row).expand(batch, -1).to(voice.device)
    ids, tones, frames = many(phones.ids), many(phones.tone_ids), many(durations * (FRAME // hop))
    voices, lengths = (torch.full((batch,), n, device=voice.device) for n in (0, len(phones)))
    noise = draw_noise(range(batch), [int(frames[0].sum())] * batch, voice.encoder.prior.out_features).to(voice.device)
    @torch.no_grad()
    def speak():  # [B, 1, T]
        out = voice.encoder(ids, tones, voices, lengths, frames)
        known = voice.denoiser.prepare(out.hidden)
        predict = lambda z, t: voice.denoiser(z, t, mask=out.frame_mask, prepared=known)
        return voice.autoencoder.decode(sample(predict, noise, voice.schedule, d.target, n_steps, d.sampler,
                                               initial_noise=d.initial_noise, mask=out.frame_mask))
    return speak


def training(voice: Voice, corpus, n: int = 4) -> tuple:  # function, seconds of sound that it learns from
    "Set up one step of training on `n` sentences of the corpus, and return the function that takes it."
    utterances, device = corpus.split("train")[:n], voice.device
    white = lambda z: (z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-5)
    with torch.no_grad():
        seen = [white(voice.autoencoder.encode(corpus.audio(u)[None, None].to(device))[0]).cpu() for u in utterances]
    examples = [baseline_example(u, z, corpus.speakers, voice.autoencoder.hop) for u, z in zip(utterances, seen)]
    task = VoiceTask(voice.preset, examples, len(corpus.speakers), frame=voice.autoencoder.hop)
    task.encoder, task.denoiser = voice.encoder, voice.denoiser
    task.to(device).train()
    batch = {k: v.to(device) for k, v in task.batch(step_generator(0, 0), len(examples)).items()}
    optimizer = torch.optim.AdamW(task.parameters(), 1e-5, fused=True)
    def step():
        optimizer.zero_grad(set_to_none=True)
        task(batch)[0].backward()
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
    return step, sum(u.seconds for u in utterances)


# Counting

def layer_macs(layer: nn.Module, inputs: tuple, output) -> int:
    "Count the multiply-accumulates of one layer that ran; 0 for a layer that has none of its own."
    if isinstance(layer, nn.Conv1d):
        return output.numel() * (layer.in_channels // layer.groups) * layer.kernel_size[0]
    if isinstance(layer, nn.ConvTranspose1d):
        return inputs[0].numel() * (layer.out_channels // layer.groups) * layer.kernel_size[0]
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    if isinstance(layer, Attention):
        return 2 * output.numel() * output.shape[1]   # each position asks every other, and mixes every other
    return 0


@contextmanager
def counted(network: nn.Module):
    "Count the multiply-accumulates of all that runs inside, for each part of the network."
    counts, hooks, banks = Counter(), [], []
    for part, child in network.named_children():
        note = lambda layer, inputs, output, part=part: counts.update({part: layer_macs(layer, inputs, output)})
        for layer in child.modules():
            hooks.append(layer.register_forward_hook(note))
            if isinstance(layer, PQMF):      # its way back is a method, which no hook sees: every frame meets every tap
                inverse = layer.inverse
                def joined(bands, bank=layer, part=part, inverse=inverse):
                    counts[part] += bands.shape[0] * bands.shape[2] * bank.weight.numel()
                    return inverse(bands)
                layer.inverse = joined
                banks.append(layer)
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()
        for bank in banks:
            del bank.inverse


def work(voice: Voice,
         seconds: float = TEN) -> dict:  # part -> (once, each step), multiply-accumulates a second of sound
    "Count what speaking takes: what is done once, and what every step of the sampler adds."
    counts = []
    for n_steps in (1, 2):
        with counted(voice) as seen:
            speaking(voice, seconds, n_steps)()
        counts.append(seen)
    length = round(seconds * FRAME_RATE) / FRAME_RATE
    return {name: ((2 * counts[0][part] - counts[1][part]) / length, (counts[1][part] - counts[0][part]) / length)
            for part, name in PARTS.items()}


def weights(voice: Voice) -> dict:  # part -> weights
    "Count the weights that are needed to speak."
    used = {"text encoder": voice.encoder, "denoiser": voice.denoiser,
            "decoder": getattr(voice.autoencoder, "decoder", None)}
    return {name: sum(p.numel() for p in part.parameters()) if part else 0 for name, part in used.items()}


def numbers(voice: Voice) -> float:
    "Count the numbers that the denoiser says for a second of sound, in each step."
    return voice.encoder.prior.out_features * SAMPLE_RATE / voice.autoencoder.hop


def count(name: str, voice: Voice, n_steps: int = 8, seconds: float | None = None) -> list:
    "Return the rows that are the same on every machine."
    seconds = seconds or TEN
    params, macs = weights(voice), {part: once + n_steps * step for part, (once, step) in work(voice, seconds).items()}
    row = lambda what, value, unit, **more: dict(what=what, system=name, **more, value=value, unit=unit)
    return [row("weights", sum(params.values()), "", **{part.replace(" ", "_"): n for part, n in params.items()}),
            row("numbers", numbers(voice), "a second of sound, each step"),
            row("multiply-accumulates", sum(macs.values()), "a second of sound", n_steps=n_steps, seconds=seconds,
                **{part.replace(" ", "_"): n for part, n in macs.items()})]


# Memory

def resident(peak: bool = False) -> int:
    "Return the bytes of memory that this process holds, or held at most; Linux says it exactly, elsewhere only the peak is known."
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 1024 * int(text.split("VmHWM:" if peak else "VmRSS:")[1].split()[0])


def forget_peak():
    "Let the peak of `resident` begin again from now, where the system allows it."
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def tensor_peak(function) -> int:
    "Return the most bytes of tensors alive at once while `function` runs, beyond those that were there before: torch's profiler says."
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        function()
    alive = peak = 0
    for event in sorted((e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"),
                        key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def job(voice: Voice, args):
    "Set up what --memory names."
    return speaking(voice, TEN, 2, args.batch) if args.work == "speak" else training(voice, corpus_of(args),
                                                                                     args.train_batch)[0]


def held(
    args,
) -> dict:  # bytes: whole = of the process at its peak, added = beyond what it held with the networks ready
    "Run one piece of work in this process and say what memory it took."
    run, cuda = job(build(args.memory, PRESETS[args.preset]).to(args.device), args), args.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        forget_peak()
    before = torch.cuda.memory_allocated() if cuda else resident()
    run()
    whole = torch.cuda.max_memory_allocated() if cuda else resident(peak=True)
    return dict(whole=whole, added=whole - before)


def held_alone(name: str, what: str, args) -> dict:
    "Run one piece of work in a process of its own and say what memory it took."
    command = [sys.executable, __file__, "--memory", name, "--work", what]
    for option in ("device", "threads", "preset", "batch", "train_batch", "corpus"):
        command += [f"--{option.replace('_', '-')}", str(getattr(args, option))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


# Time

def lap(run, device: str = "cpu", clock: str = "wall") -> float:
    "Take the time of one call: CUDA events on a GPU, else the clock on the wall, or of the processor, which other programs hardly disturb."
    if clock == "wall":
        return seconds_of(run, device)
    start = time.process_time()
    run()
    return time.process_time() - start


def timed(name: str, jobs: dict, args) -> dict:  # (system, seconds, n_steps) -> [repeats] seconds
    "Time functions in turn; every lap is kept in --folder."
    return time_interleaved(jobs, args.repeats, lambda run: lap(run, args.device, args.clock),
                       args.folder / "laps" / f"{name}.json")


def short(value):
    return float(f"{value:.4g}")


def ends(name: str, values: list) -> dict:
    "Return median, lowest and highest, as fields of a row."
    return {name: short(median(values)), f"{name}_low": short(min(values)), f"{name}_high": short(max(values))}


def time_rows(what: str, times: dict, unit: str = "s", of=lambda key, t: t,
              **more) -> list:  # times: (system, seconds, n_steps) -> laps
    "Make a row of each job: ratio first, against LatentSpeech in the same round at the same length and steps."
    values = {key: [of(key, x) for x in t] for key, t in times.items()}
    return [dict(what=what, system=key[0], seconds=key[1], n_steps=key[2], **more,
                 **ends("ratio", [a / b for a, b in zip(some, values[OURS, *key[1:]])]),
                 **ends("value", some), unit=unit, n=len(some)) for key, some in values.items()]


def exponent(sizes, values) -> float:
    "Fit cost ~ size ^ exponent: the slope on logarithmic axes."
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def exponents(times: dict, system: str, above: float = 0.0) -> dict:
    "Fit the exponent in each round, over the lengths from `above` on."
    some = {key: t for key, t in times.items() if key[0] == system and key[1] >= above}
    return ends("value", [exponent([key[1] for key in some], values) for values in zip(*some.values())])


def fit_time(rows: list) -> np.ndarray:
    "Fit seconds = a + b length + steps (c + d length) to rows, all errors relative; returns [a, b, c, d]."
    s, k, t = (np.array([row[key] for row in rows], float) for key in ("seconds", "n_steps", "value"))
    terms = np.stack([np.ones_like(s), s, k, k * s], 1)
    return np.linalg.lstsq(terms / t[:, None], np.ones_like(t), rcond=None)[0]


def predict_time(fitted, seconds, n_steps) -> float:
    "Say how long a sentence of so many seconds takes, after `fit_time`."
    a, b, c, d = fitted
    return float(a + b * seconds + n_steps * (c + d * seconds))


# The parts of the record: each returns rows

def corpus_of(args):
    return make_embedded_corpus(config=PRESETS[args.corpus].corpus, progress=False)


def systems(args, names=()):
    return {name: build(name, PRESETS[args.preset]).to(args.device) for name in names or SYSTEMS}


def part_counts(args):
    "Weights, numbers, multiply-accumulates; at 8 steps for all, and at 50 for the paper's."
    rows = [row for name in (*SYSTEMS, *(f"bands x {n}" for n in FOLDS))
            for row in count(name, build(name, PRESETS[args.preset]))]
    if "the paper's" in SYSTEMS:
        rows.append(count("the paper's", build("the paper's"), 50)[-1])
    ours = {row["what"]: row["value"] for row in rows if row["system"] == OURS}
    return [dict(row, ratio=short(row["value"] / ours[row["what"]])) for row in rows]


def part_steps(args):
    voices = systems(args)
    jobs = {(name, args.seconds, n): speaking(voice, args.seconds, n, args.batch) for n in STEPS for name,
            voice in voices.items()}
    return time_rows("speaking", timed("steps", jobs, args), batch=args.batch)


def part_lengths(args):
    voices = systems(args)
    jobs = {(name, s, args.n_steps): speaking(voice, s, args.n_steps, args.batch) for s in LENGTHS for name,
            voice in voices.items()}
    times = timed("lengths", jobs, args)
    fits = [dict(what="exponent of time", system=name, seconds_from=above, n_steps=args.n_steps,
                 **exponents(times, name, above), unit="")
            for name in voices for above in (LENGTHS[0], LENGTHS[len(LENGTHS) // 2 - 1])]
    return time_rows("speaking, by length", times, batch=args.batch) + fits


def part_folds(args):
    voices = systems(args, (*SYSTEMS, *(f"bands x {n}" for n in FOLDS)))
    jobs = {(name, TEN, 8): speaking(voice, TEN, 8, args.batch) for name, voice in voices.items()}
    return time_rows("speaking, 8 steps", timed("folds", jobs, args), batch=args.batch)


def part_training(args):
    corpus = corpus_of(args)
    jobs = {name: training(voice, corpus, args.train_batch) for name, voice in systems(args).items()}
    times = timed("training", {(name, short(seconds), None): step for name, (step, seconds) in jobs.items()}, args)
    return time_rows("training", times, "s of sound learned from a second", lambda key, t: key[1] / t,
                     batch=args.train_batch)


def part_memory(args):
    rows = []
    for what in ("speak", "train"):
        found = {name: kept(args.folder / "memory" / f"{what} {name}.json", lambda: held_alone(name, what, args))
                 for name in SYSTEMS}
        rows += [dict(what=f"memory, {what}", system=name, ratio=short(m["added"] / found[OURS]["added"]),
                      value=short(m["added"] / 1e6), unit="MB",
                      whole_process=short(m["whole"] / 1e6), batch=args.batch if what == "speak"
                      else args.train_batch) for name, m in found.items()]
    return rows


def part_tensors(args):
    "Of one sentence on the processor, whatever --device: torch's profiler counts the same on any machine."
    voices = {name: build(name, PRESETS[args.preset]) for name in SYSTEMS}
    # more steps, no more memory
    peaks = {(name, s): tensor_peak(speaking(voice, s, 1)) for s in LENGTHS[1:] for name, voice in voices.items()}
    fits = [dict(what="exponent of tensors", system=name,
                 value=short(exponent(LENGTHS[1:], [peaks[name, s] for s in LENGTHS[1:]])), unit="") for name in voices]
    return [dict(what="tensors alive", system=name, seconds=s, n_steps=1, ratio=short(p / peaks[OURS, s]),
                 value=short(p / 1e6), unit="MB") for (name, s), p in peaks.items()] + fits


PIECES = {"counts": part_counts, "steps": part_steps, "lengths": part_lengths, "folds": part_folds,
          "training": part_training, "memory": part_memory, "tensors": part_tensors}


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=2, help="of the processor")
    parser.add_argument("--preset", default="mini", help="whose sizes all but the paper's have")
    parser.add_argument("--seconds", type=float, default=None,
                        help="of sound, where the steps vary; 2, and 10 on a GPU")
    parser.add_argument("--n-steps", type=int, default=None, help="where the length varies; 2, and 8 on a GPU")
    parser.add_argument("--batch", type=int, default=None,
                        help="sentences spoken together; 1, and 64 on a GPU, which one does not fill")
    parser.add_argument("--train-batch", type=int, default=None,
                        help="sentences of a training step; 4, and 128 on a GPU")
    parser.add_argument("--corpus", default=None,
                        help="preset whose embedded corpus is learned from; tiny, and mini on a GPU")
    parser.add_argument("--clock", default="wall", choices=("wall", "processor"),
                        help="processor: time of one thread, for a machine that is busy with other things")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    parser.add_argument("--only", nargs="*", default=list(PIECES), choices=PIECES,
                        help="parts to measure now; the record is written when all are there")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--folder", type=Path, default=None,
                        help="for parts that are done; out/efficiency/<device> of <threads>")
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    parser.add_argument("--memory", help=argparse.SUPPRESS)   # a process that measures itself
    parser.add_argument("--work", default="speak", choices=("speak", "train"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    usual = dict(seconds=10.0, n_steps=8, batch=64, train_batch=128,
                 corpus="mini") if args.device == "cuda" else dict(seconds=2.0, n_steps=2, batch=1, train_batch=4,
                                                                   corpus="tiny")
    for name, value in usual.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.clock == "processor" and (args.threads > 1 or args.device != "cpu"):
        parser.error("--clock processor counts the work of one thread: add --threads 1")
    args.folder = args.folder or Path("out/efficiency") / f"{args.device}-{args.threads}"
    return args


def main():
    args = options()
    torch.set_num_threads(args.threads)
    if args.device == "cuda":
        torch.backends.cudnn.benchmark = True
    if args.memory:
        print(json.dumps(held(args)))
        return
    wanted = {name: getattr(args, name) for name in ("device", "threads", "preset", "seconds", "n_steps", "batch",
                                                     "train_batch", "corpus", "clock")}
    if kept(args.folder / "options.json", lambda: wanted) != wanted:
        sys.exit(f"{args.folder} was measured with other options: choose another --folder, or delete it")
    for name in args.only:
        rows = kept(args.folder / f"{name}.json", lambda: PIECES[name](args))
        for row in rows:
            print(*(f"{k} {v}" for k, v in row.items() if v is not None and k != "what"), sep="  ", flush=True)
    left = [name for name in PIECES if not (args.folder / f"{name}.json").exists()]
    if left:
        print(f"still to be measured: {', '.join(left)}")
        return
    corpus = corpus_of(args)
    path = record(args.out or args.folder / "efficiency.json",
                  [row for name in PIECES for row in json.loads((args.folder / f"{name}.json").read_text())],
                  shlex.join(["python", "tools/efficiency.py", *sys.argv[1:]]), 0, corpus.split_sha256("train"),
                  {name: weights_hash(build(name, PRESETS[args.preset])) for name in SYSTEMS}, device=args.device,
                  threads=args.threads, preset=args.preset,
                  repeats=args.repeats, clock=args.clock,
                  load=[round(x, 2) for x in getattr(os, "getloadavg", lambda: [])()], note=args.note)
    print(path)


if __name__ == "__main__":
    main()
