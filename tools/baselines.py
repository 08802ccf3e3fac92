#!/usr/bin/env python3
"""Train every system of lesson 61 for the same seconds of work, mark them on sentences they have not seen, and write the table as JSON:
tools/baselines.py --seconds 240 --out data/results/61_baselines.json
tools/baselines.py --corpus FOLDER --speakers tan --split test --weights base --seconds 360 --decoder-seconds 720 --batch 16 --out data/results/72_paper_table.json

How many steps fit into the seconds is measured first, on this machine, in processor time of one thread, so that other work beside it takes nothing
away. Run it again to go on where it stopped.
"""
import argparse, json, sys, tempfile, time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
from latentspeech.weights import PretrainedError, load_weights
from latentspeech.files import MissingExtra, write_atomically
from latentspeech.autoencoder import Autoencoder
from latentspeech.baselines import MelRepresentation, Voice, cost, load_baseline, load_vocoder, train_baseline, untrained
from latentspeech.config import PRESETS, Preset, from_dict
from latentspeech.corpora import Corpus, make_embedded_corpus
from latentspeech.distances import MCD_CAPTION, mel_cepstral_distortion, world
from latentspeech.evaluation import by_speaker, utterance_phones
from latentspeech.judge import Judge
from latentspeech.metrics import Rate, syllable_error_rate, tone_error_rate
from latentspeech.readers import open_corpus
from latentspeech.table import measured, record
from latentspeech.tasks import fit_latent_statistics, train_autoencoder, train_voice
from sweep_steps import last_names

DECODERS = ("autoencoder", "mel_vocoder")         # trained first: a voice may speak through them
PARTS = (*DECODERS, "latentspeech", "latentspeech_own", "fastspeech", "mel_diffusion", "stylespeech", "band_diffusion")

VOICES = ("LatentSpeech", "FastSpeech", "StyleSpeech", "mel diffusion", "band diffusion")   # what their rows begin with


def add_corpus(parser):
    "Add the options that say whose speech is learned and marked, and by whose weights."
    parser.add_argument("--corpus", default="embedded", help="a folder; embedded = the one made here")
    parser.add_argument("--speakers", default="", help="learn and say only what these said, with commas between")
    parser.add_argument("--split", default="valid", help="what is marked")
    parser.add_argument("--weights", default="mini", help="of the shipped autoencoder, voice and judge")


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--preset", default="mini")
    add_corpus(parser)
    parser.add_argument("--seconds", type=float, default=240, help="of training, each part")
    parser.add_argument("--decoder-seconds", type=float, default=None,
                        help="the same for the two decoders; none = --seconds")
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS,
                        help="what to train; rows of what isn't there are left out")
    parser.add_argument("--batch", type=int, default=4, help="sentences a step; decoders keep the preset's crops")
    parser.add_argument("--limit", type=int, default=60, help="so many of its sentences; 0 = train only")
    parser.add_argument("--n-distance", type=int, default=24, help="of them for MCD")
    parser.add_argument("--folder", type=Path, default=Path("out/baselines"), help="for checkpoints and weights")
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    return parser.parse_args()


def settled(args) -> Preset:
    "The preset, with a warm-up that a short run can finish."
    p = PRESETS[args.preset]
    short = lambda config, **more: replace(config, warmup=min(config.warmup, 50), save_every=100, **more)
    return replace(p, train_voice=short(p.train_voice, batch=args.batch), train_autoencoder=short(p.train_autoencoder))


def opened(args, preset) -> Corpus:
    "The corpus, cut to the speakers that are asked for."
    if args.corpus == "embedded":
        corpus = make_embedded_corpus(config=preset.corpus, progress=False)
    else:
        corpus = open_corpus(args.corpus)
    wanted = [s.strip() for s in args.speakers.split(",") if s.strip()]
    if unknown := set(wanted) - set(corpus.speakers):
        sys.exit(f"no speaker {unknown.pop()!r}; there are: {', '.join(corpus.speakers)}")
    return Corpus(corpus.folder, corpus.name,
                  [u for u in corpus if u.symbols and (not wanted or u.speaker in wanted)], corpus.recipe)


def trainer(name, preset, folder, weights):
    "The function that trains a part; it takes corpus, folder, steps and callback."
    common = dict(preset=preset, device="cpu")
    if name == "autoencoder":
        return partial(train_autoencoder, **common)
    if name == "latentspeech":
        return partial(train_voice, **common, autoencoder=weights)
    if name == "latentspeech_own":
        return partial(train_voice, **common, autoencoder=folder / "autoencoder")
    return partial(train_baseline, name, **common)


def steps_within(train, corpus, seconds):
    "Measure how many steps fit into so many seconds of processor time."
    n = 3 + min(17, int(seconds / 15))
    few, marks = Corpus(corpus.folder, corpus.name,
                        corpus.split("train")[::max(1, len(corpus.split("train")) // 64)]), []
    with tempfile.TemporaryDirectory() as folder:
        train(corpus=few, folder=Path(folder) / "trial", steps=n, progress=False, callback=lambda run,
              terms: marks.append(time.process_time()))
    return max(1, round(seconds * (n - 2) / (marks[-1] - marks[1])))


def kept(path, make):
    "Read a JSON file, or make it."
    if not path.exists():
        write_atomically(path, json.dumps(make()).encode())
    return json.loads(path.read_text())


def latent_voice(folder, autoencoder) -> Voice:
    "Load LatentSpeech into the class of the baselines, over an autoencoder."
    state, card = load_weights(folder, "voice")
    voice = untrained("latentspeech", from_dict(Preset, card["config"]), card["speakers"])
    voice.load_state_dict({**voice.state_dict(), **state})
    voice.autoencoder = Autoencoder.from_pretrained(autoencoder)
    return voice


def say(voice, utterances, size=6):
    "Speak every utterance's phones with its speaker; how long each lasts, the voice decides."
    sounds = [None] * len(utterances)
    for speaker, some in by_speaker(utterances, size):
        for i, said in zip(some, voice.speak_phones([utterance_phones(utterances[i]) for i in some], 0, speaker)):
            sounds[i] = said.audio
    return sounds


@torch.no_grad()
def copies(network, corpus, utterances):
    "Encode and decode natural speech: the best that a voice over this representation can do."
    sounds = [corpus.audio(u)[None, None] for u in utterances]
    return [network.decode(network.encode(a))[0, 0, :a.shape[2]] for a in sounds]


def systems(corpus, utterances, folder, weights):
    "Name every row and the function that makes its sounds."
    mels = MelRepresentation()
    voice = lambda name, vocoder=None: load_baseline(name, folder / name, vocoder)
    rows = {"natural": lambda: [corpus.audio(u) for u in utterances],
            "mels, Griffin-Lim": lambda: (fit_latent_statistics(mels, corpus), copies(mels, corpus, utterances))[1],
            "mels, neural decoder": lambda: copies(load_vocoder(folder / "mel_vocoder"), corpus, utterances),
            "latents, trained as long": lambda: copies(Autoencoder.from_pretrained(folder / "autoencoder"), corpus,
                                                       utterances),
            "latents, as shipped": lambda: copies(Autoencoder.from_pretrained(weights), corpus, utterances),
            "LatentSpeech": lambda: say(latent_voice(folder / "latentspeech_own", folder / "autoencoder"), utterances),
            "LatentSpeech, decoder as shipped": lambda: say(latent_voice(folder / "latentspeech", weights), utterances),
            "band diffusion": lambda: say(voice("band_diffusion"), utterances),
            "LatentSpeech, as shipped": lambda: say(latent_voice(weights, weights), utterances)}
    for name, title in (("fastspeech", "FastSpeech"), ("stylespeech", "StyleSpeech"),
                        ("mel_diffusion", "mel diffusion")):
        rows[f"{title}, Griffin-Lim"] = lambda name=name: say(voice(name), utterances)
        rows[f"{title}, neural decoder"] = lambda name=name: say(voice(name, folder / "mel_vocoder"), utterances)
    rows["control: another text"] = lambda: [corpus.audio(u) for u in utterances[1:] + utterances[:1]]
    return rows


def sentence_by_sentence(values) -> dict:
    "Write the counts of a `Rate`, or one value a sentence, so that two rows of a record can be compared in pairs."
    errors, totals = values.per_utterance if isinstance(values, Rate) else (values, [1] * len(values))
    line = lambda some: " ".join(f"{float(x):.6g}" for x in some)   # on one line of the file
    return dict(errors=line(errors), totals=line(totals))


def marks(title, make, judge, utterances, references) -> list:
    "Mark one row: syllables, tones, distance of the first sentences, as many as there are references."
    sounds, said = make(), [u.pinyin for u in utterances]
    heard = judge.transcribe_batch(sounds)
    found = {"SER (in-house)": syllable_error_rate(said, heard), "tone error": tone_error_rate(said, heard)}
    if references and title != "natural":
        found["MCD"] = [mel_cepstral_distortion(a, b) for a, b in zip(references, sounds)]
    role = {"natural": "natural",
            "control: another text": "control"}.get(title, "tts" if title.startswith(VOICES) else "")
    return [asdict(measured(title, metric, values, role if metric.startswith("SER") else "",
                            "dB" if metric == "MCD" else "")) | sentence_by_sentence(values)
            for metric, values in found.items()]


def command() -> str:
    "What was called, for a record: of a folder outside of the repository its last name."
    return " ".join([f"python tools/{Path(sys.argv[0]).name}",
                     *(last_names(a) if Path(a).is_absolute() else a for a in sys.argv[1:])])


def spread(utterances, limit) -> list:
    "Take so many utterances, from everywhere in the order of their names: a corpus may be sorted by difficulty."
    some = sorted(utterances, key=lambda u: u.id)
    return some[::max(1, len(some) // limit)][:limit]


def trained(args, preset, corpus) -> dict:
    "Train every part that isn't there yet; returns how many steps each took."
    steps = {}
    for name in sorted(args.parts, key=PARTS.index):
        train, weights = trainer(name, preset, args.folder,
                                 args.weights), list((args.folder / name).glob("*.safetensors"))
        seconds = args.decoder_seconds if name in DECODERS and args.decoder_seconds else args.seconds
        steps[name] = kept(args.folder / f"steps-{name}.json", lambda: steps_within(train, corpus, seconds))
        if not weights:
            train(corpus=corpus, folder=args.folder / name, steps=steps[name])
    return steps


def main():
    args = options()
    torch.set_num_threads(1)
    preset, folder = settled(args), args.folder
    corpus = opened(args, preset)
    steps = trained(args, preset, corpus)
    if not args.limit:
        return
    utterances, judge = spread(corpus.split(args.split), args.limit), Judge.from_pretrained(args.weights)
    try:
        references = [world(corpus.audio(u)) for u in utterances[:args.n_distance]]
    except MissingExtra as error:
        references = []
        print(error)
    rows = []
    for i, (title, make) in enumerate(systems(corpus, utterances, folder, args.weights).items()):
        try:
            rows += kept(folder / f"row-{i:02d}.json", lambda: marks(title, make, judge, utterances, references))
        except PretrainedError:
            continue
        shown = lambda value: "none" if value is None else f"{value:.3f}"   # no tone error where no syllable was right
        print(title, *(f"{r['metric']} {shown(r['value'])} [{shown(r['low'])}, {shown(r['high'])}]" for r in rows
                       if r["row"] == title), sep="  ", flush=True)
    cards = {name: json.loads(next(p for p in (folder / name).glob("*.json")
                                   if p.with_suffix(".safetensors").exists()).read_text()) for name in args.parts}
    shipped = {part: load_weights(args.weights, part)[1]["sha256"] for part in ("autoencoder", "voice")}
    path = record(args.out or folder / "table.json", rows, command(), 0,
                  corpus.split_sha256(args.split), {k: c["sha256"] for k, c in cards.items()},
                  split=args.split, sentences=len(utterances), judge_sha256=judge.card["sha256"],
                  shipped=args.weights, shipped_sha256=shipped, preset=args.preset,
                  corpus=f"{corpus.name} {corpus.recipe[:8]}".strip(), speakers=corpus.speakers,
                  training_seconds=args.seconds, decoder_seconds=args.decoder_seconds or args.seconds,
                  batch={k: c["batch"] for k, c in cards.items()}, steps=steps, MCD=MCD_CAPTION,
                  costs={name: cost(untrained(name, preset), 4) for name in PARTS
                         if name not in (*DECODERS, "latentspeech_own")})
    print(path)


if __name__ == "__main__":
    main()
