"Verdicts are computed, not written: rules on made-up records, and the committed file against the committed records."
import json, zlib
import numpy as np, pytest
from latentspeech.experiments import verdicts as tool
from latentspeech.experiments.harness import main, results


def row(name, share, n=60, metric="SER (in-house)", each=True, **more):
    "Make a row with about this share of errors in sentences of ten syllables."
    # the same for the same share, whatever was drawn before
    dice = np.random.default_rng(zlib.crc32(f"{share} {metric}".encode()))
    errors = dice.binomial(10, share, n) if metric != "MCD" else 100 * share + 0.2 * dice.normal(size=n)
    totals = np.full(n, 10 if metric != "MCD" else 1)
    value = errors.sum() / totals.sum()
    def line(some):
        return " ".join(f"{x:g}" for x in some)
    return dict(row=name, metric=metric, value=value, low=0.85 * value, high=1.15 * value, n=n,
                **more) | (dict(errors=line(errors), totals=line(totals)) if each else {})


def write(folder, name, rows):
    (folder / f"{name}.json").write_text(json.dumps(dict(rows=rows)))


def frame(*rows, metric="SER (in-house)"):
    return [row("natural", 0.01, metric=metric), *rows, row("control: another text", 0.9, metric=metric)]


def baselines(ours, fast=0.2, style=0.2, mel=0.3, each=True):
    return frame(row("LatentSpeech", ours, each=each), row("FastSpeech, Griffin-Lim", fast, each=each),
                 row("StyleSpeech, neural decoder", style, each=each),
                 row("mel diffusion, Griffin-Lim", mel, each=each))


def better(folder, *args, **how):
    write(folder, "61_baselines", baselines(*args, **how))
    return tool.better(folder, tool.SER, -0.25, "WER -25 %")


def test_without_records_nothing_is_decided_but_arithmetic(tmp_path):
    found = tool.judge_claims(tmp_path)
    assert {v.verdict for v in found if v.id != "small"} == {"undecided"}
    assert next(v.verdict for v in found if v.id == "small") == "holds"
    assert all("not measured" in v.why for v in found if v.id != "small") and all(v.evidence for v in found)
    assert len({v.id for v in found}) == len(found) and json.dumps(tool.as_json(found, tmp_path), allow_nan=False)


def test_a_clear_gain_holds_and_a_clear_loss_fails(tmp_path):
    won, lost = better(tmp_path, 0.1), better(tmp_path, 0.4)
    assert won.verdict == "holds" and won.interval[1] < 0 and len(won.evidence) == 3 and "-25.0%" in won.why
    assert lost.verdict == "fails" and lost.interval[0] > 0


def test_one_lost_comparison_is_enough_to_fail(tmp_path):
    assert better(tmp_path, 0.2, fast=0.08).verdict == "fails"


def test_a_rival_is_met_at_its_best(tmp_path):
    """A voice that beats FastSpeech behind a poor vocoder, and not behind a good one, has beaten the vocoder."""
    rows = baselines(0.1, fast=0.05)
    write(tmp_path, "61_baselines", [*rows[:-1], row("FastSpeech, neural decoder", 0.5), rows[-1]])
    assert tool.better(tmp_path, tool.SER, -0.25, "").verdict == "fails"


def test_zero_in_the_interval_is_undecided(tmp_path):
    found = better(tmp_path, 0.2)
    assert found.verdict == "undecided" and "zero" in found.why


def test_without_sentences_nothing_holds(tmp_path):
    found = better(tmp_path, 0.05, each=False)
    assert found.verdict == "undecided" and "paired" in found.why and all(c.high < 0 for c in found.evidence)


def test_a_missing_rival_is_named(tmp_path):
    write(tmp_path, "61_baselines", [r for r in baselines(0.1) if "Style" not in r["row"]])
    found = tool.better(tmp_path, tool.SER, -0.25, "")
    assert found.verdict == "undecided" and "StyleSpeech" in found.why and "not measured" in found.why


@pytest.mark.parametrize("natural, control", [(0.15, 0.9), (0.01, 0.05)])
def test_a_violated_ordering_is_no_proof(tmp_path, natural, control):
    rows = baselines(0.1)
    write(tmp_path, "61_baselines", [row("natural", natural), *rows[1:-1], row("control: another text", control)])
    found = tool.better(tmp_path, tool.SER, -0.25, "")
    assert found.verdict == "undecided" and "ORDERING VIOLATED" in found.why


def test_pairing_is_what_decides():
    """Half of the errors gone, in sentences whose difficulty varies more than that."""
    hard = np.repeat([0, 2, 4, 8], 15)
    def line(some):
        return " ".join(map(str, some))
    def make(name, e):
        return dict(row=name, metric=tool.SER, value=e.sum() / 600, n=60, low=0.2, high=0.5,
                                    errors=line(e), totals=line([10] * 60))
    found = tool.change([make("a", hard // 2), make("b", hard)], tool.SER, ("a",), ("b",))
    assert found.paired and found.verdict == "holds" and found.value == pytest.approx(-0.5) and found.high < -0.4


def test_more_data_is_the_largest_against_the_smallest(tmp_path):
    write(tmp_path, "72_scaling",
          frame(*(row(f"{n} sentences", s, sentences=n) for n, s in ((200, 0.4), (400, 0.3), (1600, 0.2)))))
    found = tool.more_data(tmp_path, tool.SER, -0.495, "")
    assert found.verdict == "holds"
    assert (found.evidence[0].of, found.evidence[0].against) == ("1600 sentences", "200 sentences")
    assert "inside" in found.why
    assert tool.more_data(tmp_path, tool.MCD, -0.26, "").verdict == "undecided"


def test_ablations_keep_their_metrics_inside_the_row(tmp_path):
    def marks(name, share):
        return dict(row=name,
                                         marks={tool.SER: {k: v for k, v in row(name, share).items()
                                                           if k not in ("row", "metric")}})
    full = marks("full system", 0.05)
    write(tmp_path, "73_ablations", [marks("natural", 0.01), full, marks("no condition", 0.8),
                                     marks("another sentence's condition", 0.85),
                                     full | dict(row="50 steps"), marks("1 step", 0.2),
                                     marks("control: another text", 0.99)])
    assert tool.condition(tmp_path).verdict == "holds" and tool.condition(tmp_path).interval[0] > 0
    better, guided, slower = tool.more_steps(tmp_path)
    assert better.evidence[0].verdict == "holds" and better.verdict == "undecided"
    assert slower.why == guided.why == "not measured"
    walks = [full | dict(row="4 steps, guidance 2.5"), marks("50 steps, guidance 2.5", 0.02),
             marks("1 steps, guidance 2.5", 0.2)]
    write(tmp_path, "71_guidance_test", [marks("natural", 0.01), *walks, marks("control: another text", 0.99)])
    assert [v.verdict for v in tool.more_steps(tmp_path)[1].evidence] == ["holds", "holds"]


def test_costs_are_laps_and_counts(tmp_path):
    def lap(system, what, middle, spread=0.02, **more):
        return dict(system=system, what=what, n=5, **more,
                                                                     **{f"{k}{end}": middle * f
                                                                        for k in ("ratio", "value") for end,
                                                                        f in (("", 1), ("_low", 1 - spread),
                                                                              ("_high", 1 + spread))})
    write(tmp_path, "74_efficiency", [lap("LatentSpeech", "speaking", 1.0, n_steps=1),
                                      lap("LatentSpeech", "speaking", 20.0, n_steps=50),
                                      lap("band diffusion", "speaking, 8 steps", 2.0),
                                      lap("mel diffusion", "speaking, 8 steps", 3.0),
                                      lap("band diffusion", "weights", 2e6), lap("mel diffusion", "weights", 1.5e6)])
    found = {v.id: v for v in (*tool.follow_up(tmp_path), *tool.more_steps(tmp_path))}
    assert found["follow-up, time"].verdict == "holds"
    assert found["follow-up, size"].verdict == "fails"
    assert found["steps, slower"].verdict == "holds"
    assert found["follow-up, SER"].verdict == "undecided"
    write(tmp_path, "74_efficiency", [lap("band diffusion", "speaking, 8 steps", 2.9, 0.1),
                                      lap("mel diffusion", "speaking, 8 steps", 3.0, 0.1)])
    assert tool.follow_up(tmp_path)[0].verdict == "undecided"


def test_the_committed_verdicts_are_those_of_the_committed_records():
    kept = json.loads(results("verdicts").read_text("utf8"))
    now = json.loads(json.dumps(tool.as_json(tool.judge_claims())))
    cure = "a record has changed: run latentspeech experiment verdicts"
    assert kept["records"] == now["records"], cure
    for old, new in zip(kept["verdicts"], now["verdicts"], strict=True):
        def numbers(v):
            return [x for c in v["evidence"] for x in (c["value"], c["low"], c["high"])
                                     if x is not None] + (v["interval"] or [])
        assert (old["id"], old["verdict"], old["paper"]) == (new["id"], new["verdict"], new["paper"]), cure
        assert numbers(old) == pytest.approx(numbers(new), abs=2e-3), cure


def test_the_command_writes_the_file(tmp_path, capsys):
    write(tmp_path, "61_baselines", baselines(0.1))
    assert main(["verdicts", "--folder", str(tmp_path), "--out", str(tmp_path / "v.json")]) == 0
    made = json.loads((tmp_path / "v.json").read_text())
    assert made["command"].startswith("latentspeech experiment verdicts --folder")
    assert made["records"]["61_baselines.json"] and not made["records"]["73_ablations.json"]
    assert "holds      better, SER" in capsys.readouterr().out
