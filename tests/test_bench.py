"""The benchmark: laps in turn, laps that are kept, rows for every stage."""
import json
import torch
from latentspeech.bench import time_interleaved
from latentspeech.cli import main


def test_laps_are_taken_in_turn_and_a_run_that_broke_off_goes_on(tmp_path):
    order, seconds, keep = [], iter([1.0, 2.0, 3.0, 4.0, 5.0]), tmp_path / "new" / "laps.json"
    work = {name: lambda name=name: order.append(name) for name in "ab"}
    def lap(run):
        run()
        return next(seconds)
    laps = time_interleaved(work, 2, lap, keep)
    assert laps == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert "".join(order) == "aabbab"     # each once more, before its first lap
    assert time_interleaved(work, 2, lap, keep) == laps and len(order) == 6               # kept: nothing ran again
    # as if it had been killed during the last one
    keep.write_text(json.dumps(json.loads(keep.read_text())[:-1]))
    assert time_interleaved(work, 2, lap, keep)["b"] == [2.0, 5.0] and "".join(order[6:]) == "bb"


def test_bench_measures_every_stage_beside_another_preset(monkeypatch, capsys):
    from latentspeech.synthesis import LatentSpeech
    seen = property(lambda self: (10**5 if self.preset.name == "mini" else 7, 12))
    monkeypatch.setattr(LatentSpeech, "receptive_field", seen)
    words = ["bench", "--preset", "tiny", "--against", "mini", "--seconds", "0.5", "--repeats", "1", "--threads",
             "1", "--n-steps", "2", "--json"]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    rows = {r["stage"]: r for r in result["rows"]}
    assert {"text to sound", "first sound of a stream", "text encoder", "denoiser, one call", "decoder", "encoder",
            "PQMF, there and back"} < rows.keys()
    assert all(r["real_time_factor"] > 0 and r["times_faster"] == r["other_seconds"] / r["seconds"]
               for r in rows.values())
    assert torch.is_grad_enabled()
    # who sees everything can't begin early
    assert rows["first sound of a stream"]["other_seconds"] == rows["text to sound"]["other_seconds"]
    assert result["against"] == "mini" and result["parameters"]["mini"] > result["parameters"]["tiny"]


def test_bench_alone(capsys):
    assert main(["bench", "--preset", "tiny", "--against", "", "--seconds", "0.5", "--repeats", "1", "--threads",
                 "1", "--json"]) == 0
    assert all(set(r) == {"stage", "seconds", "real_time_factor"} for r in json.loads(capsys.readouterr().out)["rows"])
