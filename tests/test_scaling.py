"""The scaling curve: sets inside one another, a curve at small scale, and records that say what they hold."""
import json
from pathlib import Path
import pytest
from forks import Fork
from latentspeech.config import PRESETS
from latentspeech.experiments import paper_table
from latentspeech.experiments.harness import score, spread
from latentspeech.corpora import make_embedded_corpus
from latentspeech.files import sha256
from latentspeech.judge import Judge
from latentspeech.table import recorded
from latentspeech.weights import load_weights

ROOT = Path(__file__).resolve().parents[1]
RECORDINGS = ROOT.parent / "shared" / "data" / "audio-cmn"

SER = "SER (in-house)"


def run(folder, *more):
    "Run the experiment in a process of its own; return its record."
    process = Fork("-m", "latentspeech.experiments.paper_table", "scaling", "--preset", "tiny", "--steps", "2",
                   "--batch", "2", "--limit", "2", "--n-distance", "0", "--work", folder,
                   "--out", folder / "curve.json", *more)
    assert process.wait(300) == 0, process.said()
    return recorded(folder / "curve.json")


def test_sets_lie_inside_one_another():
    corpus = make_embedded_corpus(config=PRESETS["tiny"].corpus, progress=False)
    sets = [[u.id for u in paper_table.subset(corpus, share)] for share in paper_table.SHARES]
    assert all(a == b[:len(a)] for a, b in zip(sets, sets[1:]))
    assert len(sets[-1]) == len(corpus.split("train"))
    assert len(set(map(len, sets))) == 4
    assert sets[0] != [u.id for u in paper_table.subset(corpus, paper_table.SHARES[0], seed=1)]


def test_a_small_curve_from_nothing(tmp_path):
    curve = run(tmp_path, "--shares", "0.25", "1")
    points = {r["row"]: r for r in curve["rows"] if r["metric"] == SER}
    assert list(points) == ["natural", "8 sentences", "32 sentences", "control: another text"]
    # the judge's own row of the record
    assert points["natural"]["value"] == recorded(ROOT / "data/results/72_scaling.json")["rows"][0]["value"] == 0
    cards = {share: json.loads((tmp_path / f"{share}-2-0" / "tiny-voice.json").read_text()) for share in ("0.25", "1")}
    assert [c["utterances"] for c in cards.values()] == [8, 32] and all(c["steps"] == 2 for c in cards.values())
    (tmp_path / "1-2-0" / "tiny-voice.safetensors").unlink()
    # rows that another judge has heard, or another decoder has made, would go by another name
    of = dict(steps=2, seed=0, limit=2, n_distance=0) | {part: load_weights("mini", part)[1]["sha256"]
                                                         for part in ("judge", "autoencoder")}
    rows = [path.stem for path in tmp_path.glob("*.json") if path.name != "curve.json"]
    assert len(rows) == 4 and all(name.endswith(f"-{sha256(json.dumps(of))[:12]}") for name in rows), rows
    # a voice that was lost is trained again, rows that are there stay
    assert run(tmp_path, "--shares", "0.25", "1")["rows"] == curve["rows"]


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not part of this repository")
def test_a_person_s_words_are_heard_as_recorded():
    corpus, judge = paper_table.said_corpus(str(RECORDINGS), "mini", "tan"), Judge.from_pretrained("base")
    record = recorded(ROOT / "data/results/72_scaling_people.json")
    words = spread(corpus.split("test"), 150)[::30]
    here = score("natural", [corpus.audio(u) for u in words], judge, words)[0]
    there = next(r for r in record["rows"] if (r["row"], r["metric"]) == ("natural", SER))
    assert judge.card["sha256"] == record["judge_sha256"] and there["n"] == 150
    assert [here[k].split() for k in ("errors", "totals")] == [there[k].split()[::30] for k in ("errors", "totals")]


@pytest.mark.parametrize("name", ["72_scaling", "72_scaling_people", "72_scaling_people_short"])
def test_the_recorded_curves_are_whole(name):
    curve = recorded(ROOT / f"data/results/{name}.json")
    points = [r for r in curve["rows"] if r["metric"] == SER and "sentences" in r]
    sizes = [r["sentences"] for r in points]
    assert len(sizes) >= 4
    assert sizes == sorted(sizes)
    assert all(r["n"] >= 60 and r["low"] <= r["value"] <= r["high"] for r in points)
    assert {f"{n} sentences" for n in sizes} == set(curve["weights_sha256"])
    assert curve["split_sha256"]
    assert curve["judge_sha256"]
