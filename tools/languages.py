#!/usr/bin/env python3
"""Mandarin, Cantonese and English, each as a small corpus by the same recipe: the same networks, the same steps, and what each voice loses without tone or stress.

`tools/languages.py --steps 1000` writes data/results/75_languages.json, a language at a time. It may be stopped whenever you like: trainings keep
checkpoints in --work, and what is measured already is only read. The sounds are espeak-ng's, which knows when each phone starts.
"""
from __future__ import annotations
import argparse, hashlib, json, math, random, re, sys
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import soundfile, torch
from torch import Tensor, nn
from latentspeech.files import MissingExtra, write_atomically
from latentspeech.audio import resample
from latentspeech.autoencoder import Autoencoder
from latentspeech.baselines import Voice
from latentspeech.config import (
    SAMPLE_RATE,
    DenoiserConfig,
    EncoderConfig,
    JudgeConfig,
    Preset,
    TrainConfig,
    preset as get_preset,
)
from latentspeech.corpora import Corpus, CorpusError, Utterance, frame_durations, load_corpus, make_sentences
from latentspeech.distances import f0_metrics, mel_cepstral_distortion, world, world_copy
from latentspeech.encoder import TextEncoder
from latentspeech.espeak import espeak
from latentspeech.evaluation import by_speaker, recordings
from latentspeech.judge import Judge, JudgeTask, _audible
from latentspeech.latents import cache_latents
from latentspeech.metrics import Rate, align, paired_interval, syllable_error_rate
from latentspeech.table import measured, record
from latentspeech.tasks import VoiceTask
from latentspeech.training import fit
from latentspeech.weights import weights_hash

# ------------------------------------------------------------------------------------------------ languages

@dataclass(frozen=True)
class Language:
    "Name a voice of espeak-ng and what its syllables carry beside phones."
    name: str
    voice: str      # of espeak-ng
    style: str      # "tone" or "stress"
    n_styles: int   # numbers from 1 that a vowel can carry; 0 is every other phone

LANGUAGES = {l.name: l for l in (Language("Mandarin", "cmn-latn-pinyin", "tone", 5),
                                 Language("Cantonese", "yue-latn-jyutping", "tone", 6),
                                 Language("English", "en-us", "stress", 3))}
# espeak's variant, its range of pitch: those of the embedded corpus
SPEAKERS = {"female": ("Annie", 60), "male": ("m3", 85)}
SIZES = dict(train=500, valid=40, test=60)
SHORTEST, LONGEST = 5, 10                                  # syllables of a sentence
RATE, PAUSES = 22_050, ("sil", "sp")
LEAST = 441                                                # samples of a phone to which espeak gives none: 20 ms
# what espeak's names of vowels start with, in these three voices
VOWELS = tuple("aeiouyAEIOUVQ@03")


@lru_cache(1)
def word_lists() -> dict:
    return json.loads((Path(__file__).parent / "languages.json").read_text("utf8"))


def _fill(patterns, words, draw):
    "Put different words into a pattern; a word that is drawn twice spoils it."
    pattern = draw.choice(patterns)
    chosen = [draw.choice(words[slot].split()) for slot in re.findall(r"{(\w+)}", pattern)]
    return re.sub(r"{\w+}", "{}", pattern).format(*chosen) if len(set(chosen)) == len(chosen) else ""


def candidates(language: str, count: int, seed: int = 0) -> dict:
    "Make `count` different sentences: what is written -> what espeak is told, Mandarin in pinyin and Cantonese in Jyutping."
    if language == "Mandarin":
        return {text: " ".join("," if t == "sp" else t for t in tokens) for text,
                tokens in make_sentences(count, seed, SHORTEST, LONGEST).items()}
    lists, draw, made = word_lists()[language.lower()], random.Random(seed), {}
    while len(made) < count:
        if not (line := _fill(lists["templates"], lists["words"], draw)):
            continue
        if language == "English":
            text = line.replace("_", " ")
            made[text[0].upper() + text[1:]] = text
        else:
            made["".join(w.split("/")[0]
                         for w in line.split())] = " ".join({"，": ","}.get(w, w.split("/")[-1].replace("-", " "))
                                                            for w in line.split()[:-1])
    return made


def read_events(events: list, tones: list | None  # of the syllables; None = espeak's marks of stress
                ) -> tuple:                       # phones, what each carries, first sample of each; the end of the last
    "Turn espeak's events into phones; raises `CorpusError` where it switched languages or said other syllables."
    if any("(" in name for name, _ in events):
        raise CorpusError("espeak changed the language")
    phones, styles, starts, end, first, heard = [], [], [], None, 0, 0
    for name, sample in events:
        if name == "_:" and end is None:
            end = sample
        if name == "_|" and tones is not None:
            if heard == len(tones):
                raise CorpusError("espeak said more syllables than there are")
            # a syllable such as m4 has no vowel
            mine = [i for i in range(first, len(phones)) if phones[i].startswith(VOWELS)] or [len(phones) - 1]
            for i in mine:
                styles[i] = tones[heard]
            first, heard = len(phones), heard + 1
        if name.startswith("_"):
            continue
        if end is not None:
            phones.append("sp")
            styles.append(0)
            starts.append(end)
            end, first = None, first + 1   # a pause inside
        vowel, phone = name.lstrip("',").startswith(VOWELS), name.lstrip("',")
        phones.append(phone)
        starts.append(sample)
        styles.append({"'": 3, ",": 2}.get(name[0], 1) if vowel and tones is None else 0)
    if tones is not None and heard != len(tones):
        raise CorpusError(f"espeak said {heard} syllables of {len(tones)}")
    if end is None or not phones:
        raise CorpusError("espeak said nothing")
    # an unreleased stop is a silence that espeak counts with its vowel: it gets the vowel's last 20 ms
    for i in reversed(range(len(starts))):
        after = starts[i + 1] if i + 1 < len(starts) else end
        if starts[i] >= after:
            starts[i] = after - LEAST
    return phones, styles, starts, end


def speak(language: str, said: str, speaker: str = "female", speed: int = 205, pitch: int = 50,
          silence: tuple = (0.1, 0.1), seed: int = 0) -> tuple:
    "Say a line of `candidates`; returns audio [T] at 48 kHz, phones from \"sil\" to \"sil\", what each carries, seconds at which each starts."
    mine, (variant, pitch_range) = LANGUAGES[language], SPEAKERS[speaker]
    samples, events = espeak(said, f"{mine.voice}+{variant}", speed=speed, pitch=pitch, pitch_range=pitch_range)
    tones = [int(s[-1]) for s in said.replace(",", " ").split()] if mine.style == "tone" else None
    phones, styles, starts, last = read_events(events, tones)
    first, (lead, tail) = starts[0], (round(s * RATE) for s in silence)
    sound = torch.nn.functional.pad(torch.from_numpy(samples[first:last] / 32768).float(), (lead, tail))
    sound = resample(sound * (0.07 * (last - first) ** 0.5 / sound.norm()), RATE, SAMPLE_RATE)   # -23 dB
    sound = (sound + 2e-4 * torch.randn(len(sound), generator=torch.Generator().manual_seed(seed))).clamp(-1, 1)
    seconds = [0.0, *((s - first + lead) / RATE for s in starts), (last - first + lead) / RATE]
    return sound, ["sil", *phones, "sil"], [0, *styles, 0], seconds


def n_syllables(styles: list) -> int:
    return sum(s > 0 for s in styles)


def plan(language: str, sizes: dict = SIZES, seed: int = 0):
    "Yield every line to try, with who says it and how: sentence n is said alike in each language."
    draw, n = random.Random(seed), sum(sizes.values())
    for i, (text, said) in enumerate(candidates(language, n + max(20, n // (1 if language == "English" else 5)),
                                                seed).items()):
        yield dict(text=text, said=said, seed=seed * 1_000_003
                   + i), dict(speed=draw.randint(190, 225), pitch=draw.randint(46, 54),
                                                                          silence=(draw.randint(5, 15) / 100,
                                                                                   draw.randint(5, 15) / 100))


def make_corpus(language: str, folder: str | Path, sizes: dict = SIZES, seed: int = 0) -> Corpus:
    "Make the corpus of a language in `folder`, or open it where it is whole; every sentence is in one split only."
    folder = Path(folder)
    recipe = hashlib.sha256(json.dumps([language, sizes, seed, SPEAKERS, SHORTEST, LONGEST, word_lists(),
                                        list(plan(language, sizes, seed))]).encode()).hexdigest()
    if (folder / "manifest.json").exists() and (corpus := load_corpus(folder)).recipe == recipe:
        return corpus
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    splits, rows = [split for split in ("test", "valid", "train") for _ in range(sizes[split])], []
    for job, manner in plan(language, sizes, seed):
        if len(rows) == len(splits):
            break
        n, speaker = len(rows), list(SPEAKERS)[len(rows) % 2]
        try:
            audio, phones, styles, starts = speak(language, job["said"], speaker, seed=job["seed"], **manner)
        except CorpusError:
            continue
        if not SHORTEST <= n_syllables(styles) <= LONGEST:
            continue
        id, split = f"{splits[n]}-{n:05d}", splits[n]
        soundfile.write(folder / f"audio/{id}.flac", (audio * 32767).round().short().numpy(), SAMPLE_RATE,
                        subtype="PCM_16")
        rows.append(dict(id=id, text=job["text"], pinyin=job["said"].replace(",", " ").split(), speaker=speaker,
                         split=split, path=f"audio/{id}.flac",
                         seconds=len(audio) / SAMPLE_RATE, symbols=phones, tones=styles,
                         starts=[round(s, 6) for s in starts]))
    if len(rows) < len(splits):
        raise CorpusError(f"the word lists gave only {len(rows)} of {len(splits)} sentences; ask for fewer")
    write_atomically(folder / "manifest.json", json.dumps(dict(name=language, recipe=recipe, utterances=rows),
                                                          ensure_ascii=False, indent=0).encode())
    return load_corpus(folder)


def symbol_table(corpus: Corpus) -> list:
    "List the phones of a corpus, pauses first."
    return [*PAUSES, *sorted({s for u in corpus for s in u.symbols} - set(PAUSES))]


def tokens(utterance: Utterance) -> list:
    "Spell an utterance for its judge: phones with what they carry, such as a4, n0."
    return [f"{p}{s}" for p, s in zip(utterance.symbols, utterance.tones) if p not in PAUSES]


def facts(corpus: Corpus) -> dict:
    "Count what has to be learned: minutes, phones, triples of phones in the test that the training never had."
    train, test = corpus.split("train"), corpus.split("test")
    triples = lambda us: [t for u in us for t in zip(u.symbols, u.symbols[1:], u.symbols[2:])]
    known, spoken = set(triples(train)), [len(u.symbols) - 2 for u in test]
    return dict(recipe=corpus.recipe, train_minutes=sum(u.seconds for u in train) / 60,
                symbols=len(symbol_table(corpus)),
                tokens=len({t for u in corpus for t in tokens(u)}),
                words=len({w.lower().strip(".?!") for u in corpus for w in u.pinyin}),
                phones_a_second=sum(spoken) / sum(u.seconds - 0.2 for u in test),
                unseen_triples=sum(t not in known for t in triples(test)) / len(triples(test)))

# ------------------------------------------------------------------------------------------------ the voice

def withheld(styles) -> list:
    "Keep which phones carry something, and hide what."
    return [min(s, 1) for s in styles]


def swapped(u: Utterance, names: list, seed: int = 0) -> Utterance:
    "Let every vowel carry something else than it should, of what a judge knows: does a voice obey, or say what the word demands?"
    draw = random.Random(f"{seed}/{u.id}")
    def other(phone, s):
        choice = [t for t in range(1, 10) if s and t != s and f"{phone}{t}" in names]
        return draw.choice(choice) if choice else s
    return replace(u, tones=[other(p, s) for p, s in zip(u.symbols, u.tones)])


class LanguageTask(VoiceTask):
    "Learn what any voice learns, over the symbols and tones of one language."
    def __init__(self, preset: Preset, examples: list, n_symbols: int, n_styles: int, n_speakers: int = len(SPEAKERS)):
        super().__init__(preset, examples, n_speakers)
        self.encoder = TextEncoder(preset.encoder, n_symbols, n_styles + 1, n_speakers)


def example(u: Utterance, z: Tensor, table: list, hide: bool = False) -> dict:
    "Return one training example; `hide` withholds tone or stress."
    return dict(symbols=torch.tensor([table.index(s) for s in u.symbols]),
                tones=torch.tensor(withheld(u.tones) if hide else u.tones),
                durations=torch.tensor(frame_durations(u.starts, u.seconds)),
                speaker=torch.tensor(list(SPEAKERS).index(u.speaker)), z=z)


@dataclass
class Line:
    "Hold one sentence as `Voice.speak_phones` reads it."
    ids: Tensor
    tone_ids: Tensor
    pinyin, syllable, warnings = (), (), ()
    def __len__(self):
        return len(self.ids)


def train_voice(corpus: Corpus, latents: dict, preset: Preset, autoencoder: Autoencoder, folder, hide: bool = False,
                progress: bool = True) -> Voice:
    "Train a voice from nothing on the train split, or go on where it stopped."
    table, seed = symbol_table(corpus), preset.train_voice.seed
    torch.manual_seed(seed)
    task = LanguageTask(preset, [example(u, latents[u.id], table, hide) for u in corpus.split("train")], len(table),
                        LANGUAGES[corpus.name].n_styles)
    run = fit(task, preset.train_voice, folder, device="cpu", progress=progress,
              name=f"{corpus.name}{', withheld' * hide}")
    task.load_state_dict(run.average.values)
    return Voice(preset, autoencoder, task.encoder, task.denoiser, SPEAKERS)


def say(voice: Voice, utterances: list, table: list, hide: bool = False, seed: int = 0, size: int = 6) -> list:
    "Speak every utterance's phones with its speaker; how long each lasts, the voice decides."
    sounds = [None] * len(utterances)
    for speaker, some in by_speaker(utterances, size):
        lines = [Line(torch.tensor([table.index(s) for s in utterances[i].symbols]),
                      torch.tensor(withheld(utterances[i].tones) if hide else utterances[i].tones)) for i in some]
        for i, said in zip(some, voice.speak_phones(lines, seed, speaker)):
            sounds[i] = said.audio
    return sounds

# ------------------------------------------------------------------------------------------------ the judge

class PhoneJudge(Judge):
    "Recognise phones of one language with what they carry, an answer each 20 ms: phones are shorter than syllables."
    def __init__(self, config: JudgeConfig, names: list):  # names of its tokens, without the blank
        super().__init__(config)
        self.names, self.stem, self.head = ["", *names], self.stem[:1], nn.Linear(config.width, len(names) + 1)

    @torch.no_grad()
    def transcribe(self, audio: Tensor, sample_rate: int = SAMPLE_RATE) -> list:
        "Hear phones in sound [T]; silent, empty or non-finite sound gives []."
        if not _audible(audio):
            return []
        features = self.eval().features(audio.float(), sample_rate)[None]
        best = self(features, torch.tensor([features.shape[-1]]))[0][0].argmax(-1).unique_consecutive()
        return [self.names[i] for i in best.tolist() if i]

    def transcribe_batch(self, audios, sample_rate=SAMPLE_RATE):
        return [self.transcribe(a, sample_rate) for a in audios]


class PhoneTask(JudgeTask):
    "Learn to hear a language's phones in natural sound."
    def __init__(self, preset: Preset, corpus: Corpus, utterances: list):
        nn.Module.__init__(self)
        names, rate = sorted({t for u in corpus for t in tokens(u)}), preset.judge.sample_rate
        self.judge = PhoneJudge(preset.judge, names)
        self.examples = sorted(((resample(corpus.audio(u), SAMPLE_RATE, rate).half(),
                                 torch.tensor([self.judge.names.index(t) for t in tokens(u)]), u.speaker)
                                for u in utterances), key=lambda e: len(e[0]))
        self.weights = torch.ones(len(self.examples)) / len(self.examples)


def train_judge(corpus: Corpus, preset: Preset, folder, progress: bool = True) -> PhoneJudge:
    "Train the judge of a language on its natural train split, or go on where it stopped; another seed than the voice's."
    torch.manual_seed(preset.train_judge.seed)
    task = PhoneTask(preset, corpus, corpus.split("train"))
    run = fit(task, preset.train_judge, folder, device="cpu", progress=progress, name=f"{corpus.name}, judge")
    task.load_state_dict(run.average.values)
    return task.judge.eval().requires_grad_(False)


def style_error_rate(said: list, heard: list) -> Rate:
    "Count wrong tones, or stresses, among the phones that carry one and were otherwise heard right; a failed output is all wrong."
    cost = lambda r, h: 1.0 if r[:-1] != h[:-1] else (r != h) * 2.0 ** -20
    errors, totals = [], []
    for reference, hypothesis in zip(said, heard):
        pairs = [(r, h) for r, h in align(reference, hypothesis or [], cost) if r and h and r[:-1] == h[:-1]
                 and r[-1] != "0"]
        carry = sum(r[-1] != "0" for r in reference)
        errors.append(sum(r != h for r, h in pairs) if hypothesis else carry)
        totals.append(len(pairs) if hypothesis else carry)
    return Rate(errors, totals)


def phone_error_rate(said: list, heard: list) -> Rate:
    "Count phones that are wrong whatever they carry."
    return syllable_error_rate(said, heard)


def guess(train: list, test: list) -> Rate:
    "Guess what each phone carries from the phones around it alone, as a text encoder that isn't told could: errors a test utterance."
    def places(u):
        padded = ["", "", "", *u.symbols, "", "", ""]
        return [(s, [tuple(padded[i + 3 - k:i + 4 + k]) for k in (3, 2, 1, 0)]) for i, s in enumerate(u.tones) if s]
    seen = {}
    for s, contexts in (place for u in train for place in places(u)):
        for c in contexts:
            seen.setdefault(c, Counter())[s] += 1
    # the widest that was seen
    best = lambda contexts: next((seen[c].most_common(1)[0][0] for c in contexts if c in seen), 1)
    marks = [[s != best(contexts) for s, contexts in places(u)] for u in test]
    return Rate([sum(m) for m in marks], [len(m) for m in marks])

# ------------------------------------------------------------------------------------------------ the table

def flattened(audio: Tensor) -> Tensor:
    "Say a sound again at one pitch: WORLD takes it apart and puts it together without its melody."
    return resample(world_copy(resample(audio, SAMPLE_RATE, 16_000), 16_000, flatten=True), 16_000, SAMPLE_RATE)


def settled(name: str = "small", steps: int = 1000, judge_steps: int | None = None, batch: int = 8,
            seed: int = 0) -> Preset:
    "Return the sizes and the budget that every language gets: `tiny`, or something between it and `mini`."
    base = get_preset("tiny") if name == "tiny" else replace(get_preset("mini"), name="small",
        encoder=EncoderConfig(width=128, phone_blocks=2, style_blocks=1, frame_blocks=2),
                                                             denoiser=DenoiserConfig(layers=6, width=128,
                                                                                     dilation_cycle=3),
        judge=JudgeConfig(width=128, layers=2))
    config = TrainConfig(steps=steps, batch=batch, seconds=8, learning_rate=1e-3, warmup=min(50, steps // 4),
                         ema=0.99, save_every=200, seed=seed)
    return replace(base, train_voice=config, train_judge=replace(config, steps=judge_steps or steps,
                                                                 learning_rate=2e-3, seed=seed + 1))


ROLES = {"natural": "natural", "control: another text": "control"}   # and every row of a voice is "tts"


def mark(name: str, said: list, readings: list, style: str) -> list:
    "Mark one row: readings of one or several synthesis seeds."
    rows = []
    for metric, rate in (("phone error", phone_error_rate), (f"{style} error", style_error_rate)):
        if name.startswith("control: another") and rate is style_error_rate:
            continue   # no phone of it is right but by chance
        each = [rate(said, heard).per_utterance for heard in readings]
        rows.append((measured(name, metric, total := Rate(*sum(each[1:], each[0])),
                              (ROLES.get(name) or "tts" * name.startswith("TTS")) if rate is phone_error_rate
                              else ""), total))
    return rows


def distances(sounds: dict, n: int) -> list:
    "Measure melody and spectrum of the rows against natural speech; nothing where WORLD is missing."
    try:
        references = [world(a) for a in sounds["natural"][:n]]
    except MissingExtra as error:
        print(error)
        return []
    rows = []
    for name in (k for k in sounds if k != "natural" and not k.startswith("control")):
        theirs = [world(a) for a in sounds[name][:n]]
        rows.append(measured(name, "F0 RMSE", [f0_metrics(a, b).rmse_semitones for a, b in zip(references, theirs)],
                             unit="semitones"))
        rows.append(measured(name, "MCD", [mel_cepstral_distortion(a, b) for a, b in zip(references, theirs)],
                             unit="dB"))
    return rows


def contours(sounds: dict, i: int = 0) -> dict:
    "Keep the melody of one sentence in each row, a number each 10 ms, hertz, 0 = no voice."
    try:
        return {name: [round(f) for f in melody(some[i])] for name, some in sounds.items()
                if not name.startswith("control: another")}
    except MissingExtra:
        return {}


def measure(corpus: Corpus, preset: Preset, autoencoder: Autoencoder, folder: Path, limit: int | None = None,
            n_seeds: int = 3, n_distance: int = 20, progress: bool = True) -> dict:
    "Train judge and voices of one language and mark everything on its test split."
    language, table, test = LANGUAGES[corpus.name], symbol_table(corpus), corpus.split("test")[:limit]
    latents, said, without = cache_latents(autoencoder, corpus, folder / "latents",
                                           progress=progress), [tokens(u)
                                                                for u in test], f"TTS, {language.style} withheld"
    judge = train_judge(corpus, preset, folder / "judge", progress)
    voices = {name: train_voice(corpus, latents, preset, autoencoder, folder / part, hide, progress) for name, part,
              hide in (("TTS", "voice", False), (without, "withheld", True))}
    first = recordings(voices["TTS"], corpus, test)
    try:
        first["control: melody flattened"] = [flattened(a) for a in first["natural"]]
    except MissingExtra as error:
        print(error)
    spoken = {name: [say(voice, test, table, name == without, k) for k in range(n_seeds)] for name,
              voice in voices.items()}
    marks = [pair for name, some in ({k: [v] for k, v in first.items()} | spoken).items()
             for pair in mark(name, said, [judge.transcribe_batch(s) for s in some], language.style)]
    others = [swapped(u, judge.names) for u in test]
    marks += mark(f"TTS, {language.style} swapped", [tokens(u) for u in others],
                  [judge.transcribe_batch(say(voices["TTS"], others, table, seed=k)) for k in range(n_seeds)],
                  language.style)
    totals = {(row.row, row.metric): total for row, total in marks}
    rows = [asdict(row) for row, _ in marks]
    rows.append(asdict(measured("guess from the phones around, no sound", f"{language.style} error",
                                guess(corpus.split("train"), test))))
    sounds = first | {name: some[0] for name, some in spoken.items()}
    rows += [asdict(row) for row in distances(sounds, n_distance)]
    for metric in ("phone error", f"{language.style} error"):
        difference, low, high = paired_interval(totals[without, metric], totals["TTS", metric])
        rows.append(dict(row="withheld less given", metric=metric, value=difference, n=len(test), low=low,
                         high=high, role="", unit="%", failed=0))
    return dict(rows=[row | dict(language=language.name) for row in rows],
                contours=dict(text=test[0].text, **contours(sounds)), facts=facts(corpus),
                split=corpus.split_sha256("test"),
                weights={part: weights_hash(m) for part, m in (("judge", judge), ("voice", voices["TTS"].encoder),
                                                               ("withheld", voices[without].encoder))})

# ------------------------------------------------------------------------------------------------ what the
# notebook shows

def melody(audio: Tensor, sample_rate: int = SAMPLE_RATE) -> list:
    "Return the pitch of a sound, hertz, a number each 10 ms, 0 = no voice; raises `MissingExtra` without pyworld."
    return [float(f) for f in world(audio, sample_rate).f0[::2]]


def show_melodies(panels: dict, title: str):
    "Draw melodies on shared axes: panel -> {name: hertz each 10 ms}."
    import matplotlib.pyplot as plt
    fig, axes = plt.subplots(1, len(panels), figsize=(3.1 * len(panels), 2.3), sharey=True, squeeze=False)
    for ax, (name, tracks) in zip(axes[0], panels.items()):
        for label, track in tracks.items():
            ax.plot([i / 100 for i in range(len(track))], [f or math.nan for f in track], label=label, lw=1.2)
        ax.set(title=name, xlabel="seconds")
        ax.legend(fontsize=6)
    axes[0, 0].set(ylabel="Hz", ylim=(60, 350))
    fig.suptitle(title, y=1.1)
    return axes


def side_by_side(sounds: dict, title: str):
    "Draw a column for each language and a row for each way it is heard, on shared axes; return players at equal level."
    import matplotlib.pyplot as plt
    from latentspeech.audio import Player, match_level, show_spectrogram
    rows, reference = list(next(iter(sounds.values()))), next(iter(next(iter(sounds.values())).values()))
    fig, axes = plt.subplots(len(rows), len(sounds), figsize=(2.6 * len(sounds), 1.5 * len(rows)), sharex=True,
                             sharey=True, squeeze=False)
    for column, (language, some) in enumerate(sounds.items()):
        for row, name in enumerate(rows):
            show_spectrogram(some[name], title=f"{language}, {name}", ax=axes[row, column], f_max=12_000).label_outer()
    fig.suptitle(title, y=1.05)
    # the picture ends at 12 kHz, too
    light = lambda sound: resample(match_level(sound, reference), SAMPLE_RATE, 24_000)
    return Player({f"{language}, {name}": light(sound) for language, some in sounds.items() for name,
                   sound in some.items()}, 24_000)


def show_errors(rows: list, title: str):
    "Draw phone errors beside tone or stress errors, with their intervals: a colour for each language."
    import matplotlib.pyplot as plt
    fig, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
    marked = [r for r in rows if r["unit"] == "%" and not r["row"].startswith("withheld") and r["value"] is not None]
    names = list(dict.fromkeys(re.sub("tone|stress", "tone or stress", r["row"]) for r in marked))
    for k, language in enumerate(dict.fromkeys(r["language"] for r in marked)):
        for ax, phones in zip(axes, (True, False)):
            mine = [r for r in marked if r["language"] == language and (r["metric"] == "phone error") is phones]
            at = [names.index(re.sub("tone|stress", "tone or stress", r["row"])) + 0.25 * k for r in mine]
            ax.barh(at, [100 * r["value"] for r in mine], 0.22, xerr=[[100 * (r["value"] - r["low"]) for r in mine],
                                                                      [100 * (r["high"] - r["value"])
                                                                       for r in mine]], label=language)
    axes[0].set_yticks([i + 0.25 for i in range(len(names))], names)
    axes[0].invert_yaxis()
    axes[1].legend(fontsize=7)
    for ax, name in zip(axes, ("phones", "tones or stresses of right phones")):
        ax.set(title=name, xlabel="wrong, %, with 95 % intervals")
    fig.suptitle(title, y=1.03)
    return axes


def told(found: dict | None) -> list:
    "Say in words what a record answers, and what is not measured yet."
    lines, rows = [], (found or {}).get("rows", [])
    percent = lambda r: f"{100 * r['value']:+.1f} points [{100 * r['low']:+.1f}, {100 * r['high']:+.1f}]"
    for l in LANGUAGES.values():
        costs = {r["metric"]: r for r in rows if r["language"] == l.name and r["row"] == "withheld less given"
                 and r["value"] is not None}
        if not costs:
            lines.append(f"{l.name}: not measured yet")
            continue
        verdict = lambda r: "more wrong" if r["low"] > 0 else "fewer wrong" if r["high"] < 0 else ("no "
                                                                                                   "difference "
                                                                                                   "that n "
                                                                                                   "could show")
        lines.append(f"{l.name}, {l.style} withheld: " + "; ".join(f"{m} {percent(r)}: {verdict(r)}" for m,
                                                                   r in costs.items())
                     + f"; n = {next(iter(costs.values()))['n']}")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="of each voice")
    parser.add_argument("--judge-steps", type=int, default=None,
                        help="of each judge; as many as a voice's where not given")
    parser.add_argument("--batch", type=int, default=8, help="sentences a step")
    parser.add_argument("--preset", default="small", choices=("small", "tiny"))
    parser.add_argument("--languages", nargs="*", default=list(LANGUAGES), choices=list(LANGUAGES),
                        help="what to measure now")
    parser.add_argument("--limit", type=int, default=None, help="so many test sentences")
    parser.add_argument("--seed", type=int, default=0, help="of sentences, weights and batches")
    parser.add_argument("--work", type=Path, default=ROOT / "out/languages",
                        help="for corpora, checkpoints and measured rows")
    parser.add_argument("--out", type=Path, default=ROOT / "data/results/75_languages.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    preset, autoencoder, found = settled(args.preset, args.steps, args.judge_steps, args.batch,
                                         args.seed), Autoencoder.from_pretrained("mini"), {}
    command = (f"python tools/languages.py --steps {preset.train_voice.steps} --judge-steps "
               f"{preset.train_judge.steps} --batch {args.batch} --seed {args.seed}"
               + f" --preset {args.preset}" * (args.preset != "small") + f" --limit {args.limit}"
               * bool(args.limit))   # makes all of it again, whatever was made before
    for name in LANGUAGES:
        work = (
            args.work
            / f"{args.preset}-{preset.train_voice.steps}-{preset.train_judge.steps}-{args.batch}-{args.seed}"
            / name
        )
        kept = work / f"measured-{args.limit or 'all'}.json"
        if not kept.exists() and name in args.languages:
            corpus = make_corpus(name, args.work / f"corpus-{args.seed}" / name, seed=args.seed)
            write_atomically(kept, json.dumps(measure(corpus, preset, autoencoder, work, args.limit),
                                              ensure_ascii=False).encode())
        if not kept.exists():
            continue
        found[name] = json.loads(kept.read_text("utf8"))
        for r in found[name]["rows"]:
            print(f"{name:10} {r['row']:42} {r['metric']:14} {r['value']} [{r['low']}, {r['high']}]", flush=True)
        record(args.out, [r for f in found.values() for r in f["rows"]], command, args.seed,
               hashlib.sha256("".join(f["split"] for f in found.values()).encode()).hexdigest(),
               {"autoencoder": autoencoder.card["sha256"], **{f"{k} {part}": h for k, f in found.items() for part,
                                                              h in f["weights"].items()}},
               languages=list(found), splits={k: f["split"] for k, f in found.items()},
               corpora={k: f["facts"] for k, f in found.items()},
               contours={k: f["contours"] for k, f in found.items()}, preset=args.preset, batch=args.batch,
               steps=dict(voice=preset.train_voice.steps, judge=preset.train_judge.steps),
               sentences=dict(SIZES, test=args.limit or SIZES["test"]), synthesis_seeds=[0, 1, 2])
    print(args.out)


if __name__ == "__main__":
    main()
