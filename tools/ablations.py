#!/usr/bin/env python3
"""Take the parts of the system away, one at a time, and mark what is left on validation sentences: tools/ablations.py --parts sampling

Part `sampling` changes the shipped voice while it speaks. Parts `voice` and `autoencoder` train every variant from nothing, with the same seed and
the same number of steps, so that other work on the machine changes no figure. Each row is written when it is done, and a row that the record
already has is not made again: the command can be stopped at any time and run again. The test split is not touched.
"""
import argparse, json, math, sys, time
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import numpy as np, torch
from torch import nn
from latentspeech.audio import match_level, resample, save
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import SAMPLE_RATE, AutoencoderConfig, TrainConfig, preset as get_preset
from latentspeech.corpora import Corpus, Utterance, make_embedded_corpus, plan_corpus
from latentspeech.evaluation import by_speaker, recordings, utterance_phones
from latentspeech.forward_diffusion import Schedule, linear_alpha_bar
from latentspeech.judge import Judge
from latentspeech.latents import cache_latents, unwhiten, whiten
from latentspeech.losses import ReconstructionLoss, band_distance, mel_distance, spectral_convergence
from latentspeech.metrics import Rate, bootstrap_interval, paired_interval, syllable_error_rate, tone_error_rate
from latentspeech.reverse_diffusion import draw_noise, sample
from latentspeech.synthesis import LatentSpeech
from latentspeech.text import to_phones
from latentspeech.table import record
from latentspeech.tasks import AutoencoderTask, CropDataset, VoiceTask, fit_latent_statistics, machine, voice_example
from latentspeech.training import fit
from latentspeech.weights import weights_hash

RECORD = ROOT / "data/results/73_ablations.json"


@dataclass(frozen=True)
class Ablation:
    "Describe one row: what is changed, and what that means."
    row: str
    part: str       # "frame", "sampling", "voice" or "autoencoder"
    meaning: str    # one sentence
    change: dict = field(default_factory=dict)


def level_with(alpha_bar: float) -> float:
    "Return the time of the flow schedule with as much signal against noise as this share of signal power."
    signal, noise = alpha_bar ** 0.5, (1 - alpha_bar) ** 0.5
    return noise / (signal + noise)


# where the paper's 50 steps stop: 0.28 of the power is still signal
PAPER_END = level_with(float(linear_alpha_bar()[-1]))

FRAME = [
    Ablation("natural", "frame", "The recordings themselves: what the judge gets wrong is the judge's."),
    Ablation("reconstruction", "frame", "Encoded and decoded: the best that any voice over this latent can do."),
    Ablation("control: another text", "frame", "Another sentence's recording: the worst, short of noise.")]

SAMPLING = [
    Ablation("full system", "sampling", "As it ships: eight steps, guidance 1, a Gaussian start."),
    Ablation("another seed", "sampling",
             "The same system with other noise: a difference of this size means nothing.", dict(seed=1)),
    Ablation("no condition", "sampling", "The denoiser is told how long, but not what.", dict(guidance=0.0)),
    Ablation("another sentence's condition", "sampling", "The denoiser is told, clearly, the wrong text.",
             dict(swap=True)),
    *[Ablation(f"guidance {g:g}", "sampling", what, dict(guidance=g)) for g, what in
      ((0.5, "Half-way between no text and the text."), (2.0, "What the text adds, twice."),
       (4.0, "What the text adds, four times."))],
    Ablation("uniform start", "sampling", "The paper's start: numbers between 0 and 1 instead of Gaussian noise.",
             dict(initial_noise="uniform")),
    Ablation("a start that pretends", "sampling",
             "Pure noise, handed over as noise with signal in it, as the paper's schedule does.",
             dict(start_time=PAPER_END)),
    *[Ablation(f"{n} step{'s' * (n > 1)}", "sampling", what, dict(n_steps=n)) for n, what in
      ((1, "One jump: the mean of everything that could be said."), (2, "One correction."),
       (4, "Half the work of the full system."),
       (16, "Twice the work."), (50, "As many steps as the paper takes."))],
    Ablation("no unwhitening", "sampling",
             "The decoder gets the white latent, without the last few per cent of scale and shift.",
             dict(mend="white")),
    Ablation("another scale", "sampling",
             "The decoder gets the latent at the scale that the encoder's last convolution has.", dict(mend="raw"))]

_GRID = [(target, schedule) for schedule in ("flow", "zero_terminal_snr", "linear")
         for target in ("velocity", "v", "z0", "epsilon")]
_SCHEDULES = {"flow": "flow", "zero_terminal_snr": "zero terminal SNR", "linear": "linear, 50 steps"}

VOICE = [
    Ablation("trained: full system", "voice",
             "Velocity on a flow, as above, but trained from nothing and briefly: what the rows below are "
             "measured against."),
    Ablation("trained: no style branch", "voice", "The text encoder never hears of tones.", dict(layers=("fusion",))),
    Ablation("trained: no prior loss", "voice", "Nobody asks the text encoder for a first guess of the latent.",
             dict(layers=("prior",))),
    Ablation("trained: latents not whitened", "voice",
             "Loud channels stay loud: the noise drowns the quiet ones first.", dict(raw=True)),
    Ablation("trained: uniform times", "voice", "As much practice at the easy ends as in the middle.",
             dict(diffusion=dict(time_sampler="uniform"))),
    Ablation("trained: four noise draws", "voice", "Each encoded text is used for four noisy latents.",
             dict(train_voice=dict(noise_draws=4))),
    *[Ablation(f"trained: {target}, {_SCHEDULES[schedule]}", "voice",
               f"The network predicts {target}; the schedule is {_SCHEDULES[schedule]}.",
               dict(diffusion=dict(target=target, schedule=schedule, n_train_steps=0 if schedule == "flow" else 50),
                    start_time=0.98 if target == "epsilon" and schedule != "linear" else 1.0)) for target,
      schedule in _GRID[1:]]]

AUTOENCODER = [
    Ablation("autoencoder: all terms", "autoencoder", "Mel, convergence and bands, trained from nothing and briefly."),
    Ablation("autoencoder: no mel", "autoencoder", "Nobody listens as the ear does.", dict(loss=dict(mel=0.0))),
    Ablation("autoencoder: no convergence", "autoencoder", "Nobody minds the peaks.", dict(loss=dict(convergence=0.0))),
    Ablation("autoencoder: no bands", "autoencoder", "Nobody hears phase.", dict(loss=dict(band=0.0))),
    Ablation("autoencoder: latent noise 0.2", "autoencoder",
             "The decoder learns from disturbed latents, as a denoiser will give it.",
             dict(network=dict(latent_noise=0.2)))]

# the most telling to hear, so that a page stays small
PICK = ["trained: full system", "trained: no style branch", "trained: epsilon, linear, 50 steps",
        "autoencoder: all terms", "autoencoder: no bands"]
RATE = 16_000   # of the sounds that are kept and shown, Hz
PARTS = {"frame": FRAME, "sampling": SAMPLING, "voice": VOICE, "autoencoder": AUTOENCODER}
ABLATIONS = {a.row: a for part in PARTS.values() for a in part}
# what the rows of a part are compared with
REFERENCE = {part: some[0].row for part, some in PARTS.items() if part != "frame"}


class Late(Schedule):
    "Begin at a time before 1, where some signal should be left in the noise."
    start = 1.0

    def times(self, n_steps, shift=1.0):
        "Return the times that a sampler visits."
        t = self.start * super().times(n_steps, shift)
        return (t * self.n_steps).round() / self.n_steps if self.n_steps else t


def to_raw(autoencoder, z):
    "Undo all whitening, the norm inside the encoder too: [..., 16, L] as the encoder's last convolution gives it."
    norm = autoencoder.encoder[-1]
    return unwhiten(unwhiten(z, autoencoder.latent_mean, autoencoder.latent_std), norm.mean, norm.std)


def from_raw(autoencoder, raw):
    "Undo `to_raw`."
    norm = autoencoder.encoder[-1]
    return whiten(whiten(raw, norm.mean, norm.std), autoencoder.latent_mean, autoencoder.latent_std)


MENDS = {None: lambda autoencoder, z: z,
         "white": lambda autoencoder, z: whiten(z, autoencoder.latent_mean, autoencoder.latent_std),
         "raw": to_raw, "unraw": from_raw}


def written(config, split: str = "valid") -> Corpus:
    "Return a split of the embedded corpus as it is planned, what is said and by whom: without sounds, so in a second."
    utterances = []
    for job in (j for j in plan_corpus(config) if j["split"] == split):
        phones = to_phones(["sil", *job["tokens"], "sil"])
        utterances.append(Utterance(job["id"], job["text"], phones.pinyin, job["speaker"], split, Path(),
                                    0.1 * len(phones.symbols), phones.symbols, phones.tones))
    return Corpus(Path(), "embedded", utterances)


def donors(corpus, utterances):
    "Return for each utterance the next one of its speaker that says something else, whoever else is asked."
    everybody, found = corpus.split("valid"), []
    for u in utterances:
        k = next(i for i, other in enumerate(everybody) if other.id == u.id)
        found.append(next(o for o in everybody[k + 1:] + everybody[:k] if o.speaker == u.speaker and o.text != u.text))
    return found


def borrowed(out, other):
    "Return an encoder's output with the columns of other sentences, at their own pace, cut or repeated to the length."
    index = torch.arange(out.hidden.shape[2], device=out.hidden.device) % other.frame_lengths[:, None]
    return out._replace(hidden=other.hidden.gather(2, index[:, None].expand(-1, out.hidden.shape[1], -1))
                        * out.frame_mask)


@torch.no_grad()
def say(voice, utterances, others=None, seed=0, start_time=1.0, mend=None, size=8, **diffusion):
    "Speak utterances, whose phones are given, with something changed; returns their sounds [T] and white latents [16, L]."
    said, d = [None] * len(utterances), replace(voice.preset.diffusion, **diffusion)
    schedule = Late(d.schedule, d.n_train_steps)
    schedule.start = start_time
    # the size that noisy latents have there
    scale = torch.hypot(*schedule.alpha_sigma(torch.tensor(start_time))).item()
    for speaker, some in by_speaker(utterances, size):
        who = [voice.speakers.index(speaker)] * len(some)
        encode = lambda us: voice.encode([utterance_phones(us[i]) for i in some], who)
        out = encode(utterances)
        if others:
            out = borrowed(out, encode(others))
        lengths, known, unknown = (
            out.frame_lengths.tolist(),
            voice.denoiser.prepare(out.hidden),
            voice.denoiser.prepare(None),
        )
        denoise = lambda z, t, conditional=True: voice.denoiser(z, t, mask=out.frame_mask, prepared=known
                                                                if conditional else unknown)
        z = sample(denoise, scale * draw_noise([seed] * len(some), lengths).to(voice.device), schedule, d.target,
                   d.n_steps, d.sampler, d.guidance,
                   initial_noise=d.initial_noise, mask=out.frame_mask, seeds=[seed] * len(some))
        for i, row, n in zip(some, z, lengths):
            row = MENDS[mend](voice.autoencoder, row[None, :, :n])
            said[i] = voice.autoencoder.decode(row)[0, 0].cpu(), row[0].cpu()
    return [list(side) for side in zip(*said)]


def ablated(voice, corpus, utterances, change: dict):
    "Speak utterances with a change of part `sampling`; returns sounds and latents."
    change = dict(change)
    return say(voice, utterances, donors(corpus, utterances) if change.pop("swap", False) else None, **change)


class PhonesOnly(nn.Module):
    "Stand in for the fusion of phones and style, and drop the style."
    def __init__(self, fusion):
        super().__init__()
    def forward(self, phones, style):
        return phones


class Unheard(nn.Module):
    "Let a layer answer, but take no blame: no gradient passes."
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
    def forward(self, x):
        return self.layer(x).detach()


WRAPS = {"fusion": PhonesOnly, "prior": Unheard}


def voice_preset(preset, change: dict, steps: int, batch: int, seed: int):
    "Return the preset of a variant of the voice: a short run, whose warm-up fits in."
    training = replace(preset.train_voice, steps=steps, batch=batch, warmup=min(50, max(1, steps // 5)),
                       save_every=100, seed=seed, **change.get("train_voice", {}))
    return replace(preset, diffusion=replace(preset.diffusion, **change.get("diffusion", {})), train_voice=training)


def voice_task(made, examples, n_speakers: int, change: dict):
    "Build a variant of the voice; whatever is replaced, the first weights of the rest are the same."
    torch.manual_seed(made.train_voice.seed)
    task = VoiceTask(made, examples, n_speakers)
    for name in change.get("layers", ()):
        setattr(task.encoder, name, WRAPS[name](getattr(task.encoder, name)))
    return task


def autoencoder_preset(preset, change: dict, steps: int, seed: int):
    "Return the preset of a variant of the autoencoder: the small network of tools/sweep_latents.py."
    return replace(preset, autoencoder=AutoencoderConfig(channels=(32, 64, 128, 256), **change.get("network", {})),
                   train_autoencoder=TrainConfig(steps=steps, batch=4, seconds=0.34, learning_rate=2e-3,
                                                 warmup=min(50, max(1, steps // 5)), ema=0.99, save_every=100,
                                                 seed=seed))


def counts(figure) -> np.ndarray:
    "Return numerators and denominators [2, n] of a recorded figure, a column a sentence."
    return np.array([[float(x) for x in figure[key].split()] for key in ("errors", "totals")])


def figure(values, reference=None) -> dict:
    "Describe a `Rate`, or a number for each sentence: value, interval, paired difference from the reference, and what each sentence adds."
    pair = values.per_utterance if isinstance(values, Rate) else np.stack([np.asarray(values, float),
                                                                           np.ones(len(values))])
    pair, said = pair.round(5), dict(errors=" ".join(f"{x:g}" for x in pair[0].round(5)),
                                     totals=" ".join(f"{x:g}" for x in pair[1]))
    named = dict(value=None, low=None, high=None, difference=None, difference_low=None, difference_high=None)
    if pair[1].sum():
        named |= dict(zip(("value", "low", "high"), (pair[0].sum() / pair[1].sum(), *bootstrap_interval(tuple(pair)))))
        if reference is not None and counts(reference)[1].sum():
            named |= dict(zip(("difference", "difference_low", "difference_high"),
                              paired_interval(tuple(pair), tuple(counts(reference)))))
    clean = {k: None if v is None or not math.isfinite(v) else round(float(v), 5) for k, v in named.items()}
    return dict(n=pair.shape[1], **clean, **said)


def marks(said, sounds, judge, latents=None) -> dict:
    "Let the judge listen, and measure how far latents spread: metric -> `Rate`, or a number for each sentence."
    heard = judge.transcribe_batch(sounds)
    found = {"SER (in-house)": syllable_error_rate(said, heard), "tone error": tone_error_rate(said, heard)}
    return found | ({"spread": [z.square().mean().item() for z in latents]} if latents else {})


class Bench:
    "Hold what all rows share, each part made when a row first needs it."
    def __init__(self, options):
        self.options, self.preset = options, get_preset(options.preset)
        self.corpus = make_embedded_corpus(config=self.preset.corpus, progress=False)
        self.utterances, self.judge = self.corpus.split("valid")[:options.sentences], Judge.from_pretrained("mini")
        self.voice, self.said = LatentSpeech.from_pretrained("mini", options.device), [u.pinyin
                                                                                       for u in self.utterances]
        self.examples, self.clips, self.recordings = {}, None, None

    def taught(self, raw: bool) -> list:
        "Return the training examples of a voice, with latents white or raw."
        if raw not in self.examples:
            z = cache_latents(Autoencoder.from_pretrained("mini"), self.corpus, self.options.work / "latents",
                              self.options.device, progress=False)
            scale = (lambda x: to_raw(self.voice.autoencoder.cpu(), x)) if raw else (lambda x: x)
            self.examples[raw] = [voice_example(u, scale(z[u.id]), self.corpus.speakers)
                                  for u in self.corpus.split("train") if u.symbols]
            self.voice.to(self.options.device)
        return self.examples[raw]

    def sampling(self, ablation) -> tuple:  # metric -> values, sounds, further facts
        "Change the shipped voice while it speaks."
        d = replace(self.voice.preset.diffusion,
                    **{k: v for k, v in ablation.change.items() if k in ("n_steps", "guidance")})
        sounds, latents = ablated(self.voice, self.corpus, self.utterances, ablation.change)
        return marks(self.said, sounds, self.judge,
                     latents), sounds, dict(calls=d.n_steps * (1 if d.guidance == 1 else 2))

    def frame(self, ablation) -> tuple:
        "Mark recordings."
        self.recordings = self.recordings or recordings(self.voice, self.corpus, self.utterances)
        sounds = self.recordings[ablation.row]
        with torch.no_grad():
            latents = [self.voice.autoencoder.encode(a[None, None].to(self.voice.device))[0].cpu() for a in sounds]
        return marks(self.said, sounds, self.judge, latents), sounds, {}

    def train(self, task, config, ablation):
        "Train a variant, or go on where it stopped; returns the run, with averaged weights in its task."
        folder = self.options.work / f"{slug(ablation.row)}-{self.options.preset}-{config.steps}"
        run = fit(task, config, folder, device=self.options.device, progress=not self.options.quiet, name=ablation.row)
        task.load_state_dict(run.average.values)
        return run, dict(steps=run.step, batch=config.batch, weights=weights_hash(task))

    def trained_voice(self, ablation) -> tuple:
        "Train a variant of the voice, and let it speak."
        o, change = self.options, ablation.change
        made = voice_preset(self.preset, change, o.steps, o.batch, o.seed)
        task = voice_task(made, self.taught(change.get("raw", False)), len(self.corpus.speakers), change)
        _, facts = self.train(task, made.train_voice, ablation)
        voice = LatentSpeech(made, Autoencoder.from_pretrained("mini"), task.encoder, task.denoiser,
                             self.corpus.speakers).to(o.device)
        sounds, latents = say(voice, self.utterances, start_time=change.get("start_time", 1.0),
                              mend="unraw" if change.get("raw") else None)
        return marks(self.said, sounds, self.judge, latents), sounds, facts

    def trained_autoencoder(self, ablation) -> tuple:
        "Train a variant of the autoencoder, and let it copy."
        o, change = self.options, ablation.change
        self.clips = self.clips or CropDataset(self.corpus, self.corpus.split("train"))
        made = autoencoder_preset(self.preset, change, o.autoencoder_steps, o.seed)
        torch.manual_seed(o.seed)
        task = AutoencoderTask(made, self.clips)
        task.loss = ReconstructionLoss(**change.get("loss", {}))
        _, facts = self.train(task, made.train_autoencoder, ablation)
        network = task.autoencoder.fuse().eval()
        fit_latent_statistics(network, self.corpus)
        return *copies(network, [self.corpus.audio(u) for u in self.utterances], self.said, self.judge), facts


@torch.no_grad()
def copies(network, originals, said, judge) -> tuple:  # metric -> values, sounds
    "Measure what an autoencoder gives back, also from latents that are a little wrong."
    device, pairs, disturbed = network.latent_mean.device, [], []
    for k, original in enumerate(originals):
        z = network.encode(original[None, None].to(device))
        off = z + 0.3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(k)).to(device)
        copy, worse = (network.decode(x)[0, 0, :len(original)].cpu() for x in (z, off))
        pairs.append((copy[None, None], original[None, None]))
        disturbed.append(mel_distance(worse, original).item())
    bands = network.cpu().analyse
    found = {"mel distance": [mel_distance(a, b).item() for a, b in pairs],
             "convergence": [spectral_convergence(a, b).item() for a, b in pairs],
             "band distance": [band_distance(bands(a), bands(b)).item() for a, b in pairs],
             "mel distance, latent disturbed": disturbed}
    sounds = [a[0, 0] for a, _ in pairs]
    return marks(said, sounds, judge) | found, sounds


def slug(row: str) -> str:
    return "".join(c if c.isalnum() or c == "." else "-" for c in row).replace("--", "-")


def measure(bench: Bench, ablation: Ablation, rows: dict) -> dict:
    "Measure one row; the first sentence of a trained one is kept as sound."
    start, o = time.process_time(), bench.options
    make = {"frame": bench.frame, "sampling": bench.sampling, "voice": bench.trained_voice,
            "autoencoder": bench.trained_autoencoder}[ablation.part]
    found, sounds, facts = make(ablation)
    against = rows.get(REFERENCE.get(ablation.part), {}).get("marks", {})
    if ablation.part in ("voice", "autoencoder"):
        path = o.out.with_suffix("") / f"{slug(ablation.row)}.ogg"
        save(path, light(sounds[0]), RATE)
        facts["sound"] = f"{path.parent.name}/{path.name}"
    return dict(row=ablation.row, part=ablation.part, meaning=ablation.meaning, **facts,
                seconds=round(time.process_time() - start, 1), command=command(o, [ablation]),
                machine=machine(o.device), date=str(date.today()),
                marks={metric: figure(values, against.get(metric)) for metric, values in found.items()})


def command(o, ablations: list) -> str:
    "Return the command that measures these rows again."
    parts, rows = list(dict.fromkeys(a.part for a in ablations)), " ".join(json.dumps(a.row) for a in ablations)
    said = [f"--rows {rows}" if len(ablations) == 1 else f"--parts {' '.join(parts)}"]
    if "voice" in parts:
        said.append(f"--steps {o.steps} --batch {o.batch}")
    if "autoencoder" in parts:
        said.append(f"--autoencoder-steps {o.autoencoder_steps}")
    changed = [f"--{name} {getattr(o, name)}" for name, usual in (("sentences", 60), ("preset", "mini"),
                                                                  ("seed", 0), ("device", "cpu"))
               if getattr(o, name) != usual]
    return " ".join(["python tools/ablations.py", *said, *changed])


def wanted(o) -> list:
    "List the rows that were asked for, each part's reference first."
    names = o.rows or [a.row for part in o.parts for a in PARTS[part]]
    needed = {REFERENCE[ABLATIONS[n].part] for n in names if ABLATIONS[n].part in REFERENCE}
    return [a for a in ABLATIONS.values() if a.row in needed or a.row in names]


def about(bench: Bench) -> dict:
    "Return what all rows of a record must share."
    o, v = bench.options, bench.voice
    return dict(seed=o.seed, split_sha256=bench.corpus.split_sha256("valid"), split="valid",
                sentences=len(bench.utterances), preset=o.preset,
                corpus=f"{bench.corpus.name} {bench.corpus.recipe[:8]}",
                weights_sha256=dict(voice=v.card["sha256"], autoencoder=v.autoencoder.card["sha256"],
                                    judge=bench.judge.card["sha256"]))


def options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=["frame", "sampling"], choices=PARTS)
    parser.add_argument("--rows", nargs="*", default=None, choices=ABLATIONS, metavar="ROW",
                        help="these alone, by name; a part's first row comes with them")
    parser.add_argument("--steps", type=int, default=400, help="of each voice")
    parser.add_argument("--batch", type=int, default=4, help="sentences a step of each voice")
    parser.add_argument("--autoencoder-steps", type=int, default=400, help="of each autoencoder")
    parser.add_argument("--sentences", type=int, default=60, help="of the validation split")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of processor time; begin no row after that")
    parser.add_argument("--preset", default="mini",
                        help="whose corpus, and whose sizes the trained voices have; what ships is always mini")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--out", type=Path, default=RECORD)
    parser.add_argument("--work", type=Path, default=ROOT / "out/ablations", help="for checkpoints and latents")
    return parser.parse_args(arguments)


def verdict(figure: dict, unit: float = 100, digits: int = 1) -> str:
    "Say in words what a paired difference shows; errors are counted in points."
    d, low, high = (figure[k] for k in ("difference", "difference_low", "difference_high"))
    if d is None:
        return "–"
    interval = f"{unit * d:+.{digits}f} [{unit * low:+.{digits}f}, {unit * high:+.{digits}f}]"
    return f"{interval} {'worse' if low > 0 else 'better' if high < 0 else 'no difference seen'}"


def shown(figure: dict | None, unit: float = 100) -> str:
    "Write a figure with its interval."
    if figure is None or figure["value"] is None:
        return "–"
    return f"{unit * figure['value']:.1f} [{unit * figure['low']:.1f}, {unit * figure['high']:.1f}]"


def table(rows: dict, *parts: str):
    "Return a Markdown table of parts, with a line for what is not measured yet."
    from IPython.display import Markdown
    here = [rows[a.row] for part in parts for a in PARTS[part] if a.row in rows]
    lines = [f"| {r['row']} | {r['meaning']} | {shown(r['marks']['SER (in-house)'])} | "
             f"{verdict(r['marks']['SER (in-house)'])} | {shown(r['marks']['tone error'])} |" for r in here]
    missing = [a.row for part in parts for a in PARTS[part] if a.row not in rows]
    n = max((r["marks"]["SER (in-house)"]["n"] for r in here), default=0)
    head = ["| row | what it means | SER, % | against the first row, points | tone error, % |",
            "|---|---|---|---|---|"] if lines else []
    about = [f"", f"Recorded: n = {n} validation sentences, 95 % intervals in brackets, differences paired by "
                  "sentence."] if lines else []
    return Markdown("\n".join([*head, *lines, *about, "",
                               *([f"**Not measured yet:** {', '.join(missing)}."] if missing else [])]))


def forest(rows: dict, part: str, metric: str = "SER (in-house)", unit: float = 100, title: str = "",
           label: str = "syllable error against the full system, points"):
    "Draw each row's paired difference from the first row of its part, with its interval; returns the axes."
    import matplotlib.pyplot as plt
    here = [(a.row, rows[a.row]["marks"][metric]) for a in PARTS[part] if a.row in rows
            and rows[a.row]["marks"][metric]["difference"] is not None]
    ax = plt.subplots(figsize=(6.5, 0.8 + 0.2 * len(here)))[1]
    for k, (_, f) in enumerate(here):
        ends = [[unit * (f["difference"] - f["difference_low"])], [unit * (f["difference_high"] - f["difference"])]]
        ax.errorbar(unit * f["difference"], k, xerr=ends, fmt="o", ms=4, color="C3" if f["difference_low"] > 0
                    else "C2" if f["difference_high"] < 0 else "0.5")
    ax.axvline(0, color="0.8", lw=1)
    ax.invert_yaxis()
    ax.set_yticks(range(len(here)), [name for name, _ in here])
    ax.set(xlabel=f"{label} (recorded, 95 %)", title=title)
    return ax


def grid(rows: dict, metric: str = "SER (in-house)"):
    "Draw a metric for every target on every schedule; white is what is not measured yet. Returns the axes."
    import matplotlib.pyplot as plt
    targets, schedules = list(dict.fromkeys(t for t, _ in _GRID)), list(_SCHEDULES)
    row = lambda t, s: rows.get("trained: full system" if (t, s) == _GRID[0] else f"trained: {t}, {_SCHEDULES[s]}",
                                {}).get("marks", {}).get(metric, {}).get("value")
    values = np.array([[math.nan if row(t, s) is None else 100 * row(t, s) for t in targets] for s in schedules])
    ax = plt.subplots(figsize=(5.5, 2))[1]
    ax.imshow(values, vmin=0, vmax=100, cmap="Reds", aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        ax.text(j, i, "not yet" if math.isnan(value) else f"{value:.0f}", ha="center", va="center")
    ax.set_xticks(range(len(targets)), targets)
    ax.set_yticks(range(len(schedules)), [_SCHEDULES[s] for s in schedules])
    ax.set_title(f"{metric}, %: what is predicted, on which schedule (recorded)")
    return ax


def payers(rows: dict):
    "Return a Markdown table of what each missing term of the loss does to every measure, as paired differences."
    from IPython.display import Markdown
    here = [rows[a.row] for a in AUTOENCODER if a.row in rows]
    if not here:
        return Markdown("**No autoencoder has been measured yet.**")
    metrics = list(here[0]["marks"])[2:]
    first = "| row | " + " | ".join(metrics) + " |\n|" + "---|" * (len(metrics) + 1)
    cells = lambda r: [f"{m['value']:.3f}" if (m := r["marks"][k])["difference"] is None or r is here[0]
                       else verdict(m, 1, 3) for k in metrics]
    return Markdown("\n".join([first, *(f"| {r['row']} | {' | '.join(cells(r))} |" for r in here)]))


def light(sound):
    "Bring a sound to one level and to `RATE`, so that a page of many stays small: [T] at 48 kHz -> [T / 3]."
    return resample(match_level(sound.nan_to_num(), -26.0).clamp(-1, 1), SAMPLE_RATE, RATE).clamp(-1, 1)


def is_done(row: dict | None, ablation: Ablation, o) -> bool:
    "Say whether a recorded row is the one that was asked for."
    asked = {"voice": (o.steps, o.batch), "autoencoder": (o.autoencoder_steps, 4)}.get(ablation.part, (None, None))
    return row is not None and (row.get("steps"), row.get("batch")) == asked


def main(arguments=None) -> int:
    o = options(arguments)
    torch.set_num_threads(1)
    start, bench = time.process_time(), Bench(o)
    shared, old = about(bench), json.loads(o.out.read_text()) if o.out.exists() else {}
    if other := [k for k, v in shared.items() if old and old.get(k) != v]:
        print(f"{o.out} was measured with another {', '.join(other)}: name another file with --out, or remove this one")
        return 1
    rows = {r["row"]: r for r in old.get("rows", [])}
    for ablation in wanted(o):
        if is_done(rows.get(ablation.row), ablation, o):
            continue
        if time.process_time() - start > 60 * o.minutes:
            print("time is up; the same command goes on here")
            return 0
        rows[ablation.row] = measure(bench, ablation, rows)
        there = [a for a in ABLATIONS.values() if a.row in rows]
        record(o.out, [rows[a.row] for a in there], command(o, there), **shared)
        print(ablation.row, *(f"{k} {m['value']} [{m['low']}, {m['high']}]" for k,
                              m in rows[ablation.row]["marks"].items()), sep="  ", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
