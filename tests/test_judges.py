"Two judges over the same sounds: agreement, paired differences, calibration, and what is demanded of them."
import json, random
import pytest
from latentspeech.experiments import judges as tool
from latentspeech.experiments.harness import main, results
from latentspeech.weights import PretrainedError
from latentspeech.judge import Judge, plant_errors
from latentspeech.table import recorded

DRAW = random.Random(0)
SAID = [[f"{a}{b}{DRAW.randint(1, 4)}" for a in "bpmf" for b in ("a", "i", "u")] for _ in range(40)]
GOOD, OTHER, WEAK = plant_errors(SAID, 0.02, seed=1), plant_errors(SAID, 0.03, seed=2), plant_errors(SAID, 0.3, seed=3)


def rows(first, second):
    found = tool.compare("words", "natural", SAID, (first, second), True)
    return found + [dict(corpus="words", row="natural", judge=who, **tool.slope(SAID, heard, kind)) for who,
                    heard in (("first", first), ("second", second)) for kind in ("syllables", "tones")]


def test_right_looks_at_syllables_without_tones():
    assert tool.right(["ma1", "ba2", "ni3"], ["ma4", "ni3"]) == [True, False, True]
    assert tool.right(["ma1"], []) == [False]


def test_kappa_is_agreement_beyond_chance():
    assert tool.kappa([1, 0, 1, 0], [1, 0, 1, 0]) == 1 and tool.kappa([1, 0, 1, 0], [0, 1, 0, 1]) == -1
    assert tool.kappa([1, 1, 0, 0], [1, 0, 1, 0]) == 0 and tool.kappa([1, 1], [1, 1]) is None


def test_judges_that_hear_the_same_agree_wholly():
    same = tool.agreement(SAID, GOOD, GOOD, True)
    assert same["value"] == same["low"] == same["high"] == 1 and same["kappa"] == 1
    apart = tool.agreement(SAID, GOOD, WEAK, True)
    assert apart["low"] <= apart["value"] <= apart["high"] < 0.75
    assert abs(apart["kappa"]) < 0.3       # errors drawn apart
    assert tool.agreement(SAID[:2], [[], []], [[], []], True)["value"] == 1


def test_the_slope_falls_with_the_judges_own_errors():
    good, weak = tool.slope(SAID, GOOD, "syllables"), tool.slope(SAID, WEAK, "syllables")
    assert good["low"] < 1
    assert good["value"] == pytest.approx(0.98, abs=0.05)
    assert good["low"] <= good["value"] <= good["high"]
    assert weak["value"] == pytest.approx(0.7, abs=0.15) and weak["high"] < good["low"]


def test_the_demands_are_met_missed_or_not_measured():
    met = tool.acceptance(rows(GOOD, OTHER))
    assert list(met.values()) == [True] * 5
    missed = tool.acceptance(rows(GOOD, WEAK))
    assert [k for k, ok in missed.items() if not ok] == ["the second judge agrees on SER within the intervals"]
    assert not tool.acceptance(rows(WEAK, GOOD))["SER on natural speech <= 5%"]
    assert set(tool.acceptance([]).values()) == {None}


def test_the_difference_is_paired():
    found = {r["judge"]: r for r in rows(GOOD, WEAK) if r["metric"] == "SER (in-house)"}
    gap = found["second - first"]
    assert gap["value"] == pytest.approx(found["second"]["value"] - found["first"]["value"])
    assert 0.2 < gap["low"] < gap["value"] < gap["high"]


def test_the_whole_command_on_a_few_sentences(tmp_path, monkeypatch, capsys):
    try:
        Judge.from_pretrained("mini")
    except PretrainedError as error:
        pytest.skip(str(error))
    out = tmp_path / "judge.json"
    words = f"judges --judge mini --second mini --preset tiny --limit 3 --work {tmp_path / 'work'} --out {out}".split()
    assert main(words) == 0
    first = recorded(out)
    kept = {p: p.read_bytes() for p in (tmp_path / "work").iterdir()}
    monkeypatch.setattr(Judge, "transcribe_batch", lambda *a, **k: pytest.fail("heard again what was heard before"))
    assert main(words) == 0                                                # goes on from what was kept
    assert recorded(out)["rows"] == first["rows"] and {p: p.read_bytes() for p in (tmp_path / "work").iterdir()} == kept
    agreed = [r for r in first["rows"] if r["metric"] == "agreement"]
    assert {r["row"] for r in agreed} >= {"natural", "control: another text", "control: 0 dB noise"}
    assert all(r["value"] == 1 for r in agreed)
    ser = {r["row"]: r["value"] for r in first["rows"] if r["metric"] == "SER (in-house)" and r["judge"] == "first"}
    assert ser["natural"] < 0.05 < 0.5 < ser["control: another text"]
    assert first["acceptance"]["SER on natural speech <= 5%"]
    assert "met" in capsys.readouterr().out and json.loads(out.read_text())["split"] == "test"


@pytest.mark.parametrize("name, preset, corpora",
                         [("53_judge", "mini", {"embedded"}), ("53_judge_people", "base", {"real", "embedded"})])
def test_what_the_records_say_of_the_judges_that_ship(name, preset, corpora, tmp_path):
    kept = recorded(results(name))
    assert kept["acceptance"] == tool.acceptance(kept["rows"]) and {r["corpus"] for r in kept["rows"]} == corpora
    assert (
        kept["weights_sha256"]["first"]
        == Judge.from_pretrained(preset).card["sha256"]
        != kept["weights_sha256"]["second"]
    )
    assert kept["judges"]["first"]["seed"] != kept["judges"]["second"]["seed"]
    def row(rows):
        return next(r for r in rows if (r["corpus"], r["row"], r["judge"],
                                                    r["metric"]) == ("embedded", "natural", "first", "SER (in-house)"))
    main(f"judges --judge {preset} --second {preset} --preset tiny --limit 3 --work {tmp_path} "
         f"--out {tmp_path / 'r.json'}".split())
    now = row(recorded(tmp_path / "r.json")["rows"])
    assert now["n"] == 3 and now["low"] <= row(kept["rows"])["high"] and now["value"] < 0.05
