#!/usr/bin/env python3
"""Hold every claim of the paper and of its follow-up against the records: `tools/verdicts.py` reads data/results/*.json and writes data/results/verdicts.json.

The rules are code. A claim about a difference *holds* only if natural < voices < control wherever its record has them, and the interval of the difference, paired sentence by
sentence, lies wholly on the right side of zero; it *fails* if the interval lies wholly on the wrong side. All else is *undecided*, and says why: not measured,
not paired, ordering violated, or an interval with zero in it. Run it again whenever a record changes; a test compares.
"""
import argparse, json, sys
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import numpy as np
from latentspeech.files import write_atomically
from latentspeech.config import FRAME, LATENT_CHANNELS, SAMPLE_RATE
from latentspeech.metrics import paired_interval
from latentspeech.table import Row, check_ordering

FOLDER, FILE = ROOT / "data/results", ROOT / "data/results/verdicts.json"
SER, MCD = "SER (in-house)", "MCD"
# trained as long as the baselines; the first that is there
OURS = ("LatentSpeech", "LatentSpeech, decoder as shipped")
RIVALS = {"FastSpeech": ("FastSpeech, neural decoder", "FastSpeech, Griffin-Lim"),
          "StyleSpeech": ("StyleSpeech, neural decoder", "StyleSpeech, Griffin-Lim"),
          "mel diffusion": ("mel diffusion, neural decoder", "mel diffusion, Griffin-Lim")}


@dataclass
class Change:
    "Hold one relative difference between two rows, and what it says."
    of: str               # row
    against: str          # row
    metric: str
    value: float | None = None     # (a - b) / b
    low: float | None = None
    high: float | None = None
    n: int = 0
    paired: bool = False
    verdict: str = "undecided"
    why: str = ""


@dataclass
class Verdict:
    "Hold what the records say about one claim."
    id: str
    claim: str
    paper: str            # its figure
    verdict: str          # holds, fails, undecided
    record: str           # file name
    evidence: list = field(default_factory=list)   # `Change`s
    interval: list | None = None                   # of the change that decides, shares of 1
    why: str = ""


# What a record says

def rows_of(folder, name) -> list:
    "Return the rows of a record, one a row and metric; [] where there is none. Ablations keep their metrics inside the row."
    try:
        rows = json.loads((folder / f"{name}.json").read_text("utf8"))["rows"]
    except (OSError, ValueError, KeyError):
        return []
    return [dict(row=r["row"], metric=metric, **mark) for r in rows if "marks" in r for metric,
            mark in r["marks"].items()] + [r for r in rows if "marks" not in r]


def find(rows, metric, *names):
    "Return the first of these rows that was measured, or None."
    found = {r["row"]: r for r in rows if r.get("metric") == metric and r.get("value") is not None}
    return next((found[name] for name in names if name in found), None)


def strongest(rows, metric, names) -> list:
    "Order a rival's rows, lowest error first: its vocoder must not decide for us."
    found = {r["row"]: r["value"] for r in rows if r.get("metric") == metric and r.get("value") is not None}
    return sorted(names, key=lambda name: found.get(name, np.inf))


def sentences(row):
    "Return a row's errors and totals sentence by sentence, or None where the record does not keep them."
    if not row.get("errors"):
        return None
    return tuple(np.array([float(x) for x in row[key].split()]) for key in ("errors", "totals"))


def ordering(rows, metric, *voices) -> list:
    "Demand natural < voices < control of a record; returns what is violated."
    role = lambda name: (
        "natural"
        if name == "natural"
        else "control"
        if name.startswith("control")
        else "tts"
        if name in voices
        else ""
    )
    return check_ordering([Row(r["row"], metric, r["value"], r["n"], r.get("low"), r.get("high"), role(r["row"]))
                           for r in rows if r.get("metric") == metric and r.get("value") is not None])


def change(rows, metric, of, against, wanted=-1, voices=None) -> Change:
    """Compare two rows, each a tuple of names of which the first that was measured counts; `wanted` is the sign that the claim needs.

    `voices` must stand between natural speech and the controls: both rows, but where one is broken on purpose it is a control itself."""
    a, b = find(rows, metric, *of), find(rows, metric, *against)
    if not (a and b):
        return Change(of[0], against[0], metric,
                      why=f"{' and '.join(n[0] for n, r in ((of, a), (against, b)) if not r)}: not measured")
    found, pairs = Change(a["row"], b["row"], metric, n=a["n"]), (sentences(a), sentences(b))
    found.paired = all(p is not None for p in pairs) and len(pairs[0][0]) == len(pairs[1][0])
    if found.paired:
        found.value, found.low, found.high = paired_interval(*pairs, relative=True)
    elif b["value"]:
        found.value, low, high = a["value"] / b["value"] - 1, a["low"] / max(b["high"],
                                                                             1e-9) - 1, a["high"] / max(b["low"],
                                                                                                        1e-9) - 1
        found.low, found.high = low, high            # the corners of two intervals: wider than a paired one
    return judged(found, ordering(rows, metric, *(voices or (a["row"], b["row"]))), wanted)


def judged(found: Change, violated: list, wanted: int) -> Change:
    "Give a change its verdict."
    numbers = [found.value, found.low, found.high]
    if not all(v is not None and np.isfinite(v) for v in numbers):
        found.value = found.low = found.high = None
        found.why = "no finite figure"
        return found
    low, high = (found.low, found.high) if wanted > 0 else (-found.high, -found.low)
    if violated:
        found.why = violated[0]
    elif not found.paired:
        found.why = ("the record keeps no sentences, so the difference can't be paired; the interval shown is "
                     "the wide one of two rows")
    elif low > 0:
        found.verdict, found.why = "holds", "the interval lies on the claim's side of zero"
    elif high < 0:
        found.verdict, found.why = "fails", "the interval lies on the other side of zero"
    else:
        found.why = "the interval has zero in it"
    return found


def exact(of, against, metric, a, b, wanted=-1) -> Change:
    "Compare two counts, which have no interval."
    value = a / b - 1
    return Change(of, against, metric, value, value, value, 1, True, "holds" if value * wanted > 0 else "fails",
                  "counted, not drawn")


def against_paper(found: Change, figure: float) -> str:
    "Say whether the paper's gain lies in the interval."
    if found.low is None:
        return ""
    where = "inside" if found.low <= figure <= found.high else "above" if figure > found.high else "below"
    return (f"{found.value:+.0%} [{found.low:+.0%}, {found.high:+.0%}] against {found.against}; the paper's "
            f"{figure:+.1%} lies {where}")


def together(id, claim, paper, record, changes, figure=None) -> Verdict:
    "A claim holds if each of its comparisons does, and fails if one fails."
    verdicts = [c.verdict for c in changes]
    verdict = "fails" if "fails" in verdicts else "holds" if verdicts and set(verdicts) == {"holds"} else "undecided"
    deciding = next((c for c in changes if c.verdict == verdict), changes[0])
    why = (
        "; ".join(dict.fromkeys(c.why for c in changes if c.verdict == verdict))
        if any(c.value is not None for c in changes)
        else "not measured"
    )
    if figure is not None:
        why = "; ".join([why, *filter(None, (against_paper(c, figure) for c in changes))])
    return Verdict(id, claim, paper, verdict, f"{record}.json", changes, None if deciding.low is None
                   else [deciding.low, deciding.high], why)


# The claims

PEOPLE = ", on a person's words"
# the synthesiser's sentences, and recordings
TABLES, CURVES = {"61_baselines": "", "72_paper_table": PEOPLE}, {"72_scaling": "", "72_scaling_people": PEOPLE}


def better(folder, metric, figure, paper, record="61_baselines") -> Verdict:
    "Latent diffusion beats existing models trained on the same data."
    rows, where = rows_of(folder, record), TABLES[record]
    changes = [change(rows, metric, OURS, strongest(rows, metric, names)) for names in RIVALS.values()]
    return together(f"better, {metric}{where}",
                    f"latent diffusion beats existing models trained on the same data{where}", paper, record,
                    changes, figure)


def more_data(folder, metric, figure, paper, record="72_scaling") -> Verdict:
    "More data helps it further: the largest training set against the smallest."
    rows = rows_of(folder, record)
    sizes = sorted({r["sentences"] for r in rows if "sentences" in r})
    names = [f"{n} sentences" for n in (sizes or [0])]
    found = change(rows, metric, (names[-1],),
                   (names[0],)) if len(names) > 1 else Change("all sentences", "the fewest", metric, why="not measured")
    return together(f"more data, {metric}{CURVES[record]}", f"more data helps it further{CURVES[record]}", paper,
                    record, [found], figure)


def small(folder) -> Verdict:
    "The latent is 5 % of a mel spectrogram's numbers: arithmetic, and the record's own count."
    ours, theirs = LATENT_CHANNELS * SAMPLE_RATE / FRAME, 80 * SAMPLE_RATE / 256
    counted = find(rows_of(folder, "14_compactness"), "numbers a second", "latent")
    found = exact("latent", "mel", "numbers a second", ours, theirs)
    found.n, found.why = (counted or {}).get("n", 0), (f"{ours:.0f} numbers a second of {theirs:.0f}: "
                                                       f"{ours / theirs:.1%}")
    return together("small", "the latent is 5 % of a mel spectrogram", "[16, 469] against [80, 1873]",
                    "14_compactness", [found])


def compact(folder) -> Verdict:
    "Latents are dense where mel spectrograms are sparse (Hoyer's measure)."
    return together("compact", "latents are compact where mel spectrograms are sparse", "a figure",
                    "14_compactness", [change(rows_of(folder, "14_compactness"), "sparsity", ("latent",), ("mel",))])


def condition(folder) -> Verdict:
    "TTS embeddings guide the denoiser: without them, or with another sentence's, more is wrong."
    rows = rows_of(folder, "73_ablations")
    changes = [change(rows, SER, (row,), ("full system",), wanted=1, voices=("full system",))
               for row in ("no condition", "another sentence's condition")]
    return together("condition", "TTS embeddings guide the denoiser", "no figure", "73_ablations", changes)


def steps(folder) -> list:
    "More steps are better, and slower."
    rows = rows_of(folder, "73_ablations")
    better = together("steps, better", "more steps are better", "no figure", "73_ablations",
                      [change(rows, SER, ("50 steps",), ("1 step",)),
                       change(rows, SER, ("50 steps",), ("full system",))])
    if better.verdict == "undecided" and better.evidence[0].verdict == "holds":
        better.why = f"50 steps against one: holds; against eight: {better.evidence[1].why}"
    times = {r["n_steps"]: r for r in rows_of(folder, "74_efficiency") if r.get("what") == "speaking"
             and r.get("system") == "LatentSpeech"}
    slower = laps("50 steps", "1 step", "seconds", times.get(50), times.get(1), "value", wanted=1)
    return [better, together("steps, slower", "more steps are slower", "no figure", "74_efficiency", [slower])]


def laps(of, against, metric, a, b, key, wanted=-1) -> Change:
    "Compare medians of laps that were taken in turns; low and high are the farthest laps, so the corners are safe."
    if not (a and b):
        return Change(of, against, metric, why="not measured")
    found = Change(of, against, metric, a[key] / b[key] - 1, a[f"{key}_low"] / b[f"{key}_high"] - 1,
                   a[f"{key}_high"] / b[f"{key}_low"] - 1, a.get("n", 0), True)
    return judged(found, [], wanted)


def follow_up(folder) -> list:
    "The follow-up diffuses PQMF bands: less time, a smaller network and fewer errors than mel diffusion."
    rows, claim = rows_of(folder, "74_efficiency"), "diffusing PQMF bands instead of mels"
    one = lambda system, what: next((r for r in rows if r.get("system") == system and r.get("what") == what), None)
    time = laps("band diffusion", "mel diffusion", "time", one("band diffusion", "speaking, 8 steps"),
                one("mel diffusion", "speaking, 8 steps"), "ratio")
    a, b = one("band diffusion", "weights"), one("mel diffusion", "weights")
    size = exact("band diffusion", "mel diffusion", "weights", a["value"],
                 b["value"]) if a and b else Change("band diffusion", "mel diffusion", "weights", why="not measured")
    fewer = lambda record: together(f"follow-up, SER{TABLES[record]}",
                                    f"{claim} makes fewer errors{TABLES[record]}", "WER -25 %", record, [
        change(rows_of(folder, record), SER, ("band diffusion",),
               strongest(rows_of(folder, record), SER, RIVALS["mel diffusion"]))], -0.25)
    return [together("follow-up, time", f"{claim} takes less time", "-45 %", "74_efficiency", [time], -0.45),
            together("follow-up, size", f"{claim} needs a smaller network", "-77 %", "74_efficiency", [size], -0.77),
            *map(fewer, TABLES)]


def verdicts(folder: Path = FOLDER) -> list:
    "Judge every claim by the records of a folder."
    gains = [better(folder, metric, figure, paper, record) for record in TABLES for metric, figure,
             paper in ((SER, -0.25, "WER -25 %"), (MCD, -0.24, "MCD -24 %"))]
    more = [more_data(folder, metric, figure, paper, record) for record in CURVES for metric, figure,
            paper in ((SER, -0.495, "WER -49.5 %"), (MCD, -0.26, "MCD -26 %"))]
    return [*gains, *more, small(folder), compact(folder), condition(folder), *steps(folder), *follow_up(folder)]


def as_json(found: list, folder: Path = FOLDER) -> dict:
    "Return verdicts as plain values, with the hash of every record that they come from."
    plain = lambda v: (
        round(v, 4)
        if isinstance(v, float)
        else [plain(x) for x in v]
        if isinstance(v, list)
        else {k: plain(x) for k, x in v.items()}
        if isinstance(v, dict)
        else v
    )
    hashes = {v.record: sha256((folder / v.record).read_bytes()).hexdigest() if (folder / v.record).exists()
              else "" for v in found}
    return dict(command="python tools/verdicts.py",
                rule="holds: ordering natural < voices < control, and the paired 95 % interval wholly on the "
                     "claim's side of zero",
                records=dict(sorted(hashes.items())), verdicts=[plain(asdict(v)) for v in found])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="with the records")
    parser.add_argument("--out", type=Path, default=FILE)
    args = parser.parse_args()
    found = verdicts(args.folder)
    write_atomically(args.out, (json.dumps(as_json(found, args.folder), indent=1, ensure_ascii=False) + "\n").encode())
    for v in found:
        print(f"{v.verdict:10} {v.id:22} {v.paper:14} {v.why}")


if __name__ == "__main__":
    main()
