"""The main job, as `make demo` runs it: a corpus, a first sentence, two trainings, a table, and a page of it all.

`python -m demo` goes on from the weights that ship; `SCRATCH=1` starts from nothing. Everything lands in out/demo,
which is made anew each time; `--page` only writes the page again from what lies there. `--preset tiny` tries the
machinery in a minute or two.
"""
from __future__ import annotations
import argparse, json, math, os, platform, shutil, signal, sys, threading, time
from dataclasses import asdict, dataclass
from pathlib import Path
from demo.page import notebook_page, read_json, write_page

ROOT = Path(__file__).resolve().parent.parent

GOING_ON, FROM_NOTHING = (2.5, 2.5), (24.0, 18.0)  # minutes of training: autoencoder, voice
NOTEBOOKS = {"autoencoder": "70_train_autoencoder", "voice": "71_train_latentspeech", "table": "72_paper_table"}
# seconds before and after training
PLAN = dict(corpus=(45, 0), first=(15, 0), autoencoder=(45, 60), voice=(80, 40), table=(240, 0), page=(15, 0))
MEMORY_GB, DISK_GB = 4, 1                          # what a run of `mini` wants at most
CELL_MINUTES = 15                                  # most for one cell on every core, beside its training
LEAST = 3.0                                        # seconds that are left of whatever isn't over
CLEARLY = 1.1                                      # times as much is left as is said: from there on, it says so
HURRY = 2                                          # times slower than planned, from which on less is measured
PERSON = "base"                                    # weights that learned from people; they speak first
PAUSE = 24_000                                     # samples between them
FIRST_WORDS = "你好，今天天气很好，我们一起去公园吧。"
BARS = "█░" if "utf" in (sys.stdout.encoding or "").lower() else "#-"


@dataclass
class Stage:
    "One part of the demo: what an outsider is told of it, what it should take, and what it took."
    key: str
    title: str
    words: str              # what happens, for someone who never heard of it
    before: float           # seconds planned, before any training
    minutes: float = 0.0    # of training; 0 = none, or as many steps as the preset says
    after: float = 0.0      # seconds planned after the training
    status: str = "waiting"  # then running, and done, failed, skipped or interrupted
    seconds: float = 0.0
    peak_gb: float = 0.0    # resident memory of all processes together, at its highest
    problem: str = ""
    step: int = 0           # finished training steps

    @property
    def plan(self) -> float:
        "Return the seconds planned for all of it."
        return self.before + 60 * self.minutes + self.after


STAGES = {
    "corpus": ("Make the corpus",
               "a speech robot, espeak-ng, reads sentences written for this project: the only teacher there is"),
    "first": ("Say a first sentence",
              "the weights that ship speak, a person's first, and recognisers write down what they hear"),
    "autoencoder": ("Train the autoencoder",
                    "learns to write 21 ms of sound as 16 numbers, and to read them back as sound"),
    "voice": ("Train the voice", "learns which numbers a text asks for, and to find them in noise"),
    "table": ("Measure", "speaks test sentences that no training has seen; the recogniser counts the errors"),
    "page": ("Write the page", "notebooks, curves, sounds and figures in one place"),
}


def plan_stages(minutes: tuple,     # of training: autoencoder, voice
                tiny: bool = False  # seconds of training, and little of everything
                ) -> list[Stage]:
    "List the parts of the demo, with the time that each should take on two CPU cores."
    share = 0.2 if tiny else 1
    training = {} if tiny else dict(zip(("autoencoder", "voice"), minutes))
    return [Stage(key, *words, PLAN[key][0] * share, training.get(key, 0.0), PLAN[key][1] * share)
            for key, words in STAGES.items()]


def falling(planned: float, elapsed: float) -> float:
    "Return the seconds left of so many: they fall all the way, ever more slowly once most are gone."
    knee, rest = 0.7 * planned, 0.3 * planned
    if elapsed <= knee:
        return planned - elapsed
    return rest * math.exp((knee - elapsed) / rest) if rest else 0.0


def estimate(stage: Stage, elapsed: float, training: dict | None = None, trained: float = 0.0,
             slowness: float = 1.0) -> tuple[float, float]:
    "Return how much of a running stage is done, from 0 to 1, and the seconds that are left of it."
    after = slowness * stage.after
    if trained:
        left = falling(after, elapsed - trained)               # the training is over; `trained` = when
    elif training:
        left = max(0.0, training["left"]) + after
    elif stage.minutes:
        left = falling(slowness * stage.before, elapsed) + 60 * stage.minutes + after
    else:
        left = falling(slowness * stage.before + after, elapsed)
    left = max(left, LEAST)                                            # never "0 s left" while there is work to do
    return min(0.99, elapsed / (elapsed + left)), left


def slowness(stages: list[Stage],
             elapsed: float = 0.0  # seconds that a running stage has taken: where it is late, it counts, too
             ) -> float:
    "Return how many times as long as planned the stages took that are done, training apart; at least 1."
    took = [(s, s.seconds) for s in stages if s.status == "done" and s.before + s.after]
    took += [(s, elapsed) for s in stages if s.status == "running" and elapsed > s.plan]
    planned = sum(s.before + s.after for s, _ in took)
    return max(1.0, sum(seconds - 60 * s.minutes for s, seconds in took) / planned) if planned else 1.0


def settle(shown: float | None,  # what was said last
           before: float,        # what was left then
           left: float           # what is left now
           ) -> float:
    "Return the seconds left to say: they never rise, and where they are too few, they fall as the rest does."
    return left if shown is None or left <= shown else shown * min(1.0, left / before)


def clock(seconds: float) -> str:
    "Say seconds as a person would."
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds >= 600:
        return f"{seconds / 60:.0f} min"
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02} min"


def progress_line(number: int, count: int, stage: Stage, share: float, left: float, left_in_all: float,
                  detail: str = "", more: bool = False,  # it will take longer than what is said
                  width: int = 20) -> str:
    "Write one line of progress: which part, how far, what, how long still."
    full, or_more = round(share * width), " or more" if more else ""
    still = f"{clock(min(left, left_in_all))}{or_more if left > left_in_all else ''} left"
    still = "later than planned" if left <= LEAST and share > 0.97 else still
    bar = BARS[0] * full + BARS[1] * (width - full)
    return (f"{number} of {count}  {stage.title:22} {bar} {share:4.0%}  {still}, "
            f"whole demo {clock(left_in_all)}{or_more}{'  ' + detail if detail else ''}")


def resident_gb() -> float:
    "Add up the resident memory of this process and all its descendants; 0 where /proc does not tell."
    try:
        pids = [p for p in os.listdir("/proc") if p.isdigit()]
    except OSError:
        return 0.0
    parent, pages = {}, {}
    for pid in pids:
        try:
            parent[pid] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            pages[pid] = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            pass
    family = {str(os.getpid())}
    while more := {p for p in pages if parent[p] in family} - family:
        family |= more
    return sum(pages.get(p, 0) for p in family) * os.sysconf("SC_PAGE_SIZE") / 1e9


class Watcher(threading.Thread):
    "Show how far the demo is, and note the memory it takes, while the stages run."
    def __init__(self, stages: list[Stage], out: Path, stream=sys.stdout):
        super().__init__(daemon=True)
        self.stages, self.out, self.stream = stages, out, stream
        self.live = stream.isatty()   # a terminal, whose last line can be written anew
        self.lock, self.over = threading.RLock(), threading.Event()
        self.stage = None             # the one that runs
        # when it started, and after how many seconds its training ended
        self.began, self.trained = time.monotonic(), 0.0
        self.detail, self.share, self.spoke = "", 0.0, 0.0
        self.left = self.truly_left = None   # of the whole demo: as it was said last, and as it is estimated

    def run(self):
        "Look again and again, until all is over."
        while not self.over.wait(0.5 if self.live else 1.0):
            self.look()

    def say(self, text: str = ""):
        "Print a line that stays."
        with self.lock:
            print(("\r\x1b[K" if self.live else "") + text, file=self.stream, flush=True)

    def look(self):
        "Note the memory, and show how far the running stage is."
        with self.lock:
            if not (stage := self.stage):
                return
            stage.peak_gb = max(stage.peak_gb, resident_gb())
            training = read_json(self.out / stage.key / "progress.json")
            detail = self.detail
            if training:
                stage.step = training["step"]
                if not self.trained:
                    detail = f"training: step {training['step']:,}, error {training['loss']:.3g}"
            elapsed, number = time.monotonic() - self.began, self.stages.index(stage) + 1
            share, left = estimate(stage, elapsed, training, self.trained, slowness(self.stages))
            self.share = max(self.share, share)   # a bar that goes back frightens people
            slow = slowness(self.stages, elapsed)
            in_all = left + sum(slow * (s.before + s.after) + 60 * s.minutes for s in self.stages[number:])
            self.left, self.truly_left = settle(self.left, self.truly_left, in_all), in_all
            self.show(progress_line(number, len(self.stages), stage, self.share, left, self.left, detail,
                                    in_all > CLEARLY * self.left))

    def show(self, text: str):
        "Write the line anew where that can be done, else now and then a line."
        if self.live:
            self.stream.write("\r" + text[:shutil.get_terminal_size((100, 24)).columns - 1] + "\x1b[K")
            self.stream.flush()
        elif time.monotonic() - self.spoke > 15:
            self.spoke = time.monotonic()
            print(text, file=self.stream, flush=True)

    def begin(self, key: str) -> Stage:
        "Start a stage."
        self.say()
        with self.lock:
            self.stage = next(s for s in self.stages if s.key == key)
            self.stage.status = "running"
            self.began = self.spoke = time.monotonic()
            self.detail, self.share, self.trained = "", 0.0, 0.0
        self.say(f"{self.stages.index(self.stage) + 1} of {len(self.stages)}  {self.stage.title}: {self.stage.words}.")
        return self.stage

    def end(self, status: str = "done", problem: str = ""):
        "End the stage that runs."
        if not self.stage:
            return
        self.look()
        with self.lock:
            stage, self.stage = self.stage, None
            stage.status, stage.problem, stage.seconds = status, problem, round(time.monotonic() - self.began, 1)
        self.say(f"        {status} after {clock(stage.seconds)}"
                 + (f", {stage.peak_gb:.1f} GB of memory" if stage.peak_gb else "")
                 + (f": {problem}" if problem else ""))

    def cell(self, place: int, name: str, headings: list):
        "Note that a cell of the running notebook starts."
        with self.lock:
            if read_json(self.out / self.stage.key / "progress.json") and not self.trained:
                self.trained = time.monotonic() - self.began
            self.detail = f"cell {place + 1} of {len(headings)}: {headings[place]}" if place < len(headings) else ""


def headings_of(path: Path) -> list[str]:
    "Return, for each code cell of a notebook that runs, the heading it stands under."
    import nbformat
    heading, found = "", []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            headings = [line.lstrip("# ").strip() for line in cell.source.splitlines() if line.startswith("#")]
            heading = headings[-1] if headings else heading
        elif cell.cell_type == "code" and cell.source.strip():
            found.append(heading)
    return found


def brief(problem: str, most: int = 400) -> str:
    "Shorten a long error to its first words; the notebook as run holds all of it."
    text = " ".join(problem.split())
    return text if len(text) <= most else text[:most] + " …"


def machine() -> str:
    "Name the machine: cores, processor, memory."
    model = platform.processor() or platform.machine()
    try:
        model = next(l.split(":")[1].strip() for l in Path("/proc/cpuinfo").read_text().splitlines()
                     if l.startswith("model name"))
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
    except (OSError, StopIteration, ValueError):
        memory = ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {model}{memory}"


class Failed(Exception):
    "Report a stage that failed; the message says which, where and why."


class Demo:
    "Run the stages, keep the record, write the page."
    lessons = ROOT / "nbs"
    def __init__(self, preset: str, out: Path, scratch: bool, minutes: tuple | None, stream=sys.stdout):
        self.preset, self.out, self.tiny = preset, out, preset == "tiny"
        # a `tiny` voice is trained from nothing within seconds
        self.scratch, self.asked = scratch or self.tiny, minutes
        self.minutes = minutes or (FROM_NOTHING if scratch else GOING_ON)
        self.stages = plan_stages(self.minutes, self.tiny and not minutes)
        self.began, self.about = time.monotonic(), {}
        self.watcher = Watcher(self.stages, out, stream)
        self.say = self.watcher.say

    def record(self) -> dict:
        "Return what is known of this run."
        whole = time.monotonic() - self.began
        return dict(self.about, preset=self.preset, scratch=self.scratch, machine=machine(),
                    minutes=round(whole / 60, 2), training_minutes=self.minutes,
                    peak_gb=round(max(s.peak_gb for s in self.stages), 2),
                    costs=dict(going_on=GOING_ON, from_nothing=FROM_NOTHING),
                    whole_from_nothing=round(sum(s.plan for s in plan_stages(FROM_NOTHING)) / 60),
                    stages=[asdict(s) for s in self.stages])

    def explain(self):
        "Say what will happen, before anything does."
        free, whole = shutil.disk_usage(ROOT).free / 1e9, sum(s.plan for s in self.stages)
        start = ("The voice starts from nothing." if self.scratch
                 else "It goes on from the weights that ship, so it can speak at once.")
        self.say(f"LatentSpeech learns to speak Mandarin on this machine ({machine()}), without a network.")
        self.say(f"{start} Six parts:")
        for i, s in enumerate(self.stages, 1):
            self.say(f"  {i}. {s.title}: {s.words} ({'about' if s.minutes else 'up to'} {clock(s.plan)})")
        self.say(f"In all about {clock(whole)}, up to {MEMORY_GB} GB of memory and {DISK_GB} GB of disk "
                 f"({free:.0f} GB are free). Ctrl-C stops it.")
        self.say(f"At the end, open {self.page} in a browser.")
        if free < DISK_GB:
            raise Failed(f"only {free:.1f} GB of disk are free here, {DISK_GB} are needed: free some, then "
                         "`make demo` again")

    @property
    def page(self) -> Path:
        "Say where the page will be."
        return self.out / "index.html"

    def clear(self):
        "Empty the folder of the last demo; refuse to touch one that is not a demo's."
        if self.out.exists() and any(self.out.iterdir()):
            if self.out != ROOT / "out" / "demo" and not (self.out / "demo.json").exists():
                raise Failed(f"{self.out} holds something else than a demo: name a new folder")
            shutil.rmtree(self.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.keep()

    def keep(self):
        "Write down what is known of this run."
        (self.out / "demo.json").write_text(json.dumps(self.record(), indent=1, ensure_ascii=False) + "\n", "utf8")

    def make_corpus(self):
        "Make the embedded corpus."
        self.watcher.begin("corpus")
        from latentspeech.config import preset
        from latentspeech.corpora import make_embedded_corpus
        corpus = make_embedded_corpus(config=preset(self.preset).corpus, progress=False)
        self.about["corpus"] = dict(utterances=len(corpus), minutes=round(sum(u.seconds for u in corpus) / 60, 1),
                                    **{s: len(corpus.split(s)) for s in ("train", "valid", "test")},
                                    test_sha256=corpus.split_sha256("test"))
        self.watcher.end()
        facts = "        {utterances:,} sentences, {minutes:.0f} minutes; {test} of them are kept for the test"
        self.say(facts.format(**self.about["corpus"]))

    def speak_first(self):
        "Let the weights that ship speak, a person's before the robot's that will be trained."
        self.watcher.begin("first")
        from latentspeech.first_sounds import UNHEARD
        from latentspeech.weights import PretrainedError, load_weights
        self.let_speak("person", PERSON, tuple(UNHEARD))
        name = "mini" if self.tiny else self.preset
        if not self.scratch or self.tiny:
            try:
                cards = {part: load_weights(name, part)[1] for part in ("autoencoder", "voice")}
            except PretrainedError as error:
                return self.start_from_nothing(str(error))
            self.about["shipped"] = {part: {k: card[k] for k in ("steps", "training_seconds", "machine") if k in card}
                                     for part, card in cards.items()}
            self.let_speak("first", name, (FIRST_WORDS,))
        self.watcher.end()
        if self.scratch and not self.tiny:
            self.say("        with SCRATCH=1 the voice that will be trained has learned nothing yet, so it is silent")

    def let_speak(self, key: str, weights: str, texts: tuple):
        "Let a voice say texts one after the other, and its recogniser listen."
        import torch
        from latentspeech.audio import save
        from latentspeech.evaluation import matching_judge
        from latentspeech.synthesis import LatentSpeech
        from latentspeech.weights import PretrainedError
        try:
            voice = LatentSpeech.from_pretrained(weights)
        except PretrainedError as error:
            return self.say(f"        nobody speaks: {error}")
        said = voice.speak_batch(list(texts), seed=0)
        sounds, pinyin = [s.audio for s in said], [p for s in said for p in s.pinyin]
        path, text = self.out / f"{key}.wav", "，".join(texts)
        save(path, torch.cat([piece for sound in sounds for piece in (sound, torch.zeros(PAUSE))][:-1]))
        about = self.about[key] = dict(file=path.name, text=text, pinyin=pinyin, voice=voice.card["corpus"],
                                       seconds=round(sum(s.seconds for s in said), 2))
        self.about.setdefault("first_sound_minutes", round((time.monotonic() - self.began) / 60, 2))
        self.say(f"        listen now: {path}\n        text    {text}\n        pinyin  {' '.join(pinyin)}")
        try:
            about["heard"] = [p for heard in matching_judge(voice).transcribe_batch(sounds) for p in heard]
            self.say(f"        heard   {' '.join(about['heard'])}")
        except PretrainedError as error:
            self.say(f"        no recogniser: {error}")

    def start_from_nothing(self, why: str):
        "Change plans where no weights ship for this preset."
        self.watcher.end("skipped", why)
        if self.tiny:
            return
        self.scratch, self.minutes = True, self.asked or FROM_NOTHING
        for new in plan_stages(self.minutes)[2:]:
            next(s for s in self.stages if s.key == new.key).minutes = new.minutes
        self.say("        The training starts from nothing, then, as with SCRATCH=1: about "
                 f"{clock(sum(s.plan for s in self.stages[2:]))} in all.")

    def run_notebook(self, key: str):
        "Run the notebook of a stage, and write it as a page."
        from tools.run_notebooks import run_notebook
        stage, name = self.watcher.begin(key), f"{NOTEBOOKS[key]}.ipynb"
        path, saved = self.lessons / name, self.out / name
        if not path.exists():
            raise Failed(f"{path} is not there")
        headings = headings_of(path)
        for variable in ("LATENTSPEECH_START", "LATENTSPEECH_MINUTES", "LATENTSPEECH_HURRY"):
            os.environ.pop(variable, None)
        env = {"LATENTSPEECH_PRESET": self.preset, "LATENTSPEECH_OUT": str(self.out),
               "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        if not self.scratch:
            env["LATENTSPEECH_START"] = self.preset
        if slowness(self.stages) > HURRY:
            env["LATENTSPEECH_HURRY"] = "1"   # one seed, and few distances
            self.say(f"        {slowness(self.stages):.1f} times slower than planned: less is measured")
        if stage.minutes:
            env["LATENTSPEECH_MINUTES"] = str(stage.minutes)
        result = run_notebook(path, save_to=saved, timeout=60 * (stage.minutes + CELL_MINUTES), env=env,
                              on_cell=lambda index, n, name, seconds: self.watcher.cell(index, name, headings))
        stage.peak_gb = max(stage.peak_gb, result.peak_mb / 1000)
        notebook_page(saved)
        if not result.passed:
            raise Failed(f"notebook {path.name}, " + "; ".join(brief(p) for p in result.problems))
        self.watcher.end()

    def write_page(self):
        "Write the page from what there is."
        self.keep()
        write_page(self.out)

    def run(self) -> int:
        "Run it all; return the exit code."
        self.clear()
        self.explain()
        self.watcher.start()
        code, problem = 0, ""
        try:
            self.make_corpus()
            self.keep()
            self.speak_first()
            self.keep()
            for key in NOTEBOOKS:
                self.run_notebook(key)
                self.keep()
            for name in ("table.json", "samples.json"):
                if read_json(self.out / name) is None:
                    raise Failed(f"{NOTEBOOKS['table']} ran, but left no {name} in {self.out}")
        except KeyboardInterrupt:
            code, problem = 130, "interrupted"
        except Failed as error:
            code, problem = 1, str(error)
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            code, problem = 1, f"{type(error).__name__}: {error}"
        if code:
            self.about["problem"] = problem
            self.watcher.end("interrupted" if code == 130 else "failed", problem if code == 1 else "")
        try:
            if code != 130:
                self.watcher.begin("page")
            self.write_page()
            if code != 130:
                self.watcher.end()
                self.write_page()   # once more, with the time it took
        except KeyboardInterrupt:
            code = 130
        finally:
            self.watcher.over.set()
            self.watcher.stage = None
        self.close(code, problem)
        return code

    def close(self, code: int, problem: str):
        "Say how it went."
        whole = clock(time.monotonic() - self.began)
        if code == 130:
            return self.say(f"\nInterrupted after {whole}. What there is lies in {self.out}; `make demo` "
                            "starts afresh.")
        if code:
            return self.say(f"\nThe demo FAILED after {whole}: {problem}\nWhat there is: {self.page}")
        self.say(f"\nDone after {whole}, {self.record()['peak_gb']:.1f} GB of memory at most. Syllable errors on "
                 "sentences never seen in training:")
        for row in (read_json(self.out / "table.json") or {}).get("rows", []):
            if "SER" in row["metric"] and row["value"] is not None:
                self.say(f"  {row['row']:32} {row['value']:7.1%}   n = {row['n']}")
        self.say(f"Open {self.page}\nSay something of your own: make speak TEXT=\"今天天气很好\"")


def write_record(out: Path, target: Path):
    "Keep the figures of a whole demo where the front page finds them."
    said, table = read_json(out / "demo.json"), read_json(out / "table.json")
    rows = [{k: row.get(k) for k in ("row", "metric", "value", "n", "low", "high")} for row in table["rows"]]
    facts = {k: said.get(k) for k in ("machine", "first_sound_minutes", "minutes", "peak_gb", "scratch")}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(facts | {"table": rows}, indent=1, ensure_ascii=False) + "\n", "utf8")


def terminated(*_):
    "End as a shell expects of a process that was told to stop."
    raise SystemExit(143)


def main(argv=None) -> int:
    "Run the demo from a shell."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="mini", help="mini; tiny only tries the machinery [mini]")
    parser.add_argument("--minutes", type=float, nargs=2, metavar=("A", "V"),
                        help="minutes of training for autoencoder and voice")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "demo",
                        help="folder of the demo, made anew [out/demo]")
    parser.add_argument("--record", action="store_true",
                        help="also keep the figures in data/results/demo.json (from nothing: demo-scratch.json)")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    options = parser.parse_args(argv)
    if options.minutes and min(options.minutes) <= 0:
        parser.error("--minutes must be above 0")
    out = options.out.expanduser().resolve()
    if options.page:
        if not out.is_dir():
            parser.error(f"{out} is not there: run the demo first")
        print(write_page(out))
        return 0
    from latentspeech.config import PRESETS
    if options.preset not in PRESETS:
        parser.error(f"no preset {options.preset!r}; there are: {', '.join(PRESETS)}")
    signal.signal(signal.SIGTERM, terminated)
    scratch = os.environ.get("SCRATCH", "") not in ("", "0")
    demo = Demo(options.preset, out, scratch, tuple(options.minutes) if options.minutes else None)
    try:
        code = demo.run()
    except KeyboardInterrupt:
        print("\nInterrupted.", flush=True)
        return 130
    except Failed as error:
        print(f"The demo cannot start: {error}", file=sys.stderr)
        return 1
    if options.record and code == 0:
        write_record(out, ROOT / "data" / "results" / ("demo-scratch.json" if demo.scratch else "demo.json"))
    return code

