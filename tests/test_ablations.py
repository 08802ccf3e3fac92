"""What each part is worth: the record repeats, its figures follow from its counts, each switch turns what it says."""
import json, shlex

import pytest
import torch

from latentspeech.experiments.ablations import (ABLATIONS, PAPER_END, PARTS, REFERENCE, VOICE, LateSchedule, ablated,
                                                ablations, borrowed, counts, donors, figure, from_raw,
                                                planned_corpus, say, table, to_raw, verdict, voice_preset,
                                                voice_task, who_pays)
from latentspeech.experiments.harness import build_experiment_parser, results
from latentspeech.weights import load_weights
from latentspeech.config import PRESETS
from latentspeech.encoder import EncoderOutput
from latentspeech.evaluation import utterance_phones
from latentspeech.forward_diffusion import Schedule
from latentspeech.judge import Judge
from latentspeech.metrics import Rate, bootstrap_interval, paired_interval, syllable_error_rate
from latentspeech.synthesis import LatentSpeech
from latentspeech.table import RecordError, recorded

RECORD = results("73_ablations")
MARKS = ("n", "value", "low", "high", "difference", "difference_low", "difference_high", "errors", "totals")


@pytest.fixture(scope="module")
def kept():
    return recorded(RECORD)


@pytest.fixture(scope="module")
def rows(kept):
    return {r["row"]: r for r in kept["rows"]}


@pytest.fixture(scope="module")
def voice():
    return LatentSpeech.from_pretrained("mini")


@pytest.fixture(scope="module")
def corpus():
    return planned_corpus(PRESETS["mini"].corpus)


def test_the_record_says_how_it_was_made(kept, rows):
    assert (kept["split"], kept["sentences"], kept["preset"], kept["seed"]) == ("valid", 60, "mini", 0)
    shipped = {part: load_weights("mini", part)[1]["sha256"] for part in ("voice", "autoencoder", "judge")}
    assert kept["weights_sha256"] == shipped, "measure the record again: other weights ship now"
    assert {a.row for part in ("frame", "sampling") for a in PARTS[part]} <= set(rows) <= set(ABLATIONS)
    for row in rows.values():
        assert {"row", "part", "meaning", "command", "machine", "date", "seconds", "marks"} <= set(row)
        assert row["part"] == ABLATIONS[row["row"]].part
        assert {"SER (in-house)", "tone error"} <= set(row["marks"])
        for mark in row["marks"].values():
            assert tuple(mark) == MARKS
            assert mark["n"] == 60 == len(mark["errors"].split()) == len(mark["totals"].split())
        if row["part"] in ("voice", "autoencoder"):
            assert row["steps"] > 0
            assert row["batch"] > 0
            assert len(row["weights"]) == 16
            assert (RECORD.parent / row["sound"]).exists()


def test_rows_that_were_trained_got_the_same_budget(rows):
    for part in ("voice", "autoencoder"):
        assert len({(r["steps"], r["batch"], r["machine"]) for r in rows.values() if r["part"] == part}) <= 1


def test_the_commands_of_the_record_are_understood(kept, rows):
    parser = build_experiment_parser(ablations)
    for row in rows.values():
        asked = parser.parse_args(shlex.split(row["command"])[3:])
        assert asked.rows == [row["row"]] and asked.sentences == 60 and not asked.out
    asked = parser.parse_args(shlex.split(kept["command"])[3:])
    assert set(asked.parts) == {r["part"] for r in rows.values()}


def test_figures_follow_from_counts(rows):
    some = [r for r in rows.values() if r["row"] in ("full system", "guidance 0.5", "1 step", "natural")]
    for row in some:
        for metric, mark in row["marks"].items():
            pair = counts(mark)
            assert mark["value"] == pytest.approx(pair[0].sum() / pair[1].sum(), abs=1e-5)
            assert [mark["low"], mark["high"]] == pytest.approx(bootstrap_interval(tuple(pair)), abs=1e-5)
            reference = rows[REFERENCE["sampling"]]["marks"][metric]
            if row["row"] not in ("full system", "natural"):
                assert [mark[k] for k
                        in MARKS[4:7]] == pytest.approx(paired_interval(tuple(pair), tuple(counts(reference))),
                                                        abs=1e-5)


def test_natural_speech_and_another_text_stand_at_the_ends(rows):
    def ser(name):
        return rows[name]["marks"]["SER (in-house)"]["value"]
    assert ser("natural") < ser("full system") < ser("no condition")
    assert ser("full system") < ser("control: another text")


def test_the_record_is_of_these_sentences(kept, corpus, rows):
    assert corpus.split_sha256("valid") == kept["split_sha256"]
    said = [len(u.pinyin) for u in corpus.utterances[:60]]
    assert all(counts(r["marks"]["SER (in-house)"])[1].tolist() == said for r in rows.values())


def test_a_row_repeats(voice, corpus, rows):
    some = corpus.utterances[:6]
    sounds, _ = ablated(voice, corpus, some, ABLATIONS["guidance 0.5"].change)
    again = syllable_error_rate([u.pinyin for u in some],
                                Judge.from_pretrained("mini").transcribe_batch(sounds)).per_utterance
    errors, full = (counts(rows[name]["marks"]["SER (in-house)"])[0, :6] for name in ("guidance 0.5", "full system"))
    assert errors.sum() >= full.sum() + 4, "this row no longer tells itself from the full system: choose another"
    assert abs(again[0] - errors).sum() <= 1   # another processor may round one syllable away


def test_no_switch_turned_is_the_voice_itself(voice, corpus):
    some = [u for u in corpus.utterances if u.speaker == "male"][:2]
    mine, z = say(voice, some)
    usual = voice.speak_phones([utterance_phones(u) for u in some], 0, "male")
    for a, b, c in zip(mine, usual, z):
        torch.testing.assert_close(a, b.audio, atol=1e-3, rtol=0)
        torch.testing.assert_close(c, b.latents, atol=1e-3, rtol=1e-3)


def test_a_borrowed_condition_is_the_others(voice, corpus):
    some = corpus.utterances[:3]
    assert donors(corpus, some)[1] == donors(corpus, some[1:2])[0], "who else is asked must change nothing"
    assert all(a.speaker == b.speaker and a.text != b.text for a, b in zip(some, donors(corpus, some)))
    hidden = torch.arange(3.).expand(1, 2, 3)
    out = EncoderOutput(torch.zeros(1, 2, 5), None, None, None, torch.tensor([4]), torch.tensor([[[1., 1, 1, 1, 0]]]))
    other = EncoderOutput(hidden, None, None, None, torch.tensor([3]), torch.ones(1, 1, 3))
    assert borrowed(out, other).hidden[0, 0].tolist() == [0, 1, 2, 0, 0]


def test_raw_latents_are_what_the_last_convolution_gives(voice):
    network, audio = voice.autoencoder, 0.1 * torch.randn(1, 1, 20 * 1024, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        z, raw = network.encode(audio), network.encoder[:-1](network.analyse(audio))
    torch.testing.assert_close(to_raw(network, z), raw, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(from_raw(network, raw), z, atol=1e-4, rtol=1e-4)
    assert (raw - z).abs().max() > 1


def test_the_pretended_start_has_the_papers_signal():
    alpha, sigma = Schedule("flow").alpha_sigma(torch.tensor(PAPER_END))
    paper = Schedule("linear", 50).alpha_sigma(torch.tensor(1.0))
    assert float(alpha / sigma) == pytest.approx(float(paper[0] / paper[1]), rel=1e-4)
    late = LateSchedule("zero_terminal_snr", 50, first=0.98)
    assert late.times(8)[0] == pytest.approx(0.98)
    assert late.times(8)[-1] == 0
    assert float(late.alpha_sigma(late.times(8))[0][0]) > 0
    assert torch.equal(LateSchedule("flow").times(8), Schedule("flow").times(8))


def tiny_task(change):
    made = voice_preset(PRESETS["tiny"], change, steps=2, batch=2, seed=0)
    z = torch.randn(16, 15, generator=torch.Generator().manual_seed(1))
    example = dict(symbols=torch.tensor([1, 9, 24, 1]), tones=torch.tensor([0, 0, 3, 0]),
                   durations=torch.tensor([2, 3, 8, 2]), speaker=torch.tensor(0), z=z)
    return voice_task(made, [example] * 4, 1, change)


@pytest.mark.parametrize("change", [dict(layers=("fusion",)), dict(layers=("prior",)), dict(raw=True)])
def test_variants_start_from_the_same_weights(change):
    plain = {k.replace("prior.layer.", "prior."): v for k, v in tiny_task(change).state_dict().items()}
    full = tiny_task({}).state_dict()
    assert plain.keys() <= full.keys() and all(torch.equal(v, full[k]) for k, v in plain.items())


def test_without_the_prior_loss_all_else_learns_as_if_it_were_not_there():
    def gradients(change, without_prior=False):
        task = tiny_task(change).eval()
        with torch.no_grad():
            [p.normal_(generator=torch.Generator().manual_seed(5)) for p in task.denoiser.leave[-1].parameters()]
        b = task.batch(torch.Generator().manual_seed(0), 2)
        loss = task(b)[0]
        if without_prior:
            out = task.encoder(b["symbols"], b["tones"], b["speakers"], b["lengths"], b["durations"],
                               n_frames=b["z"].shape[2])
            loss = loss - (((out.prior - b["z"]).square()
                            * out.frame_mask).flatten(1).sum(1) / (out.frame_mask.flatten(1).sum(1) * 16)).mean()
        loss.backward()
        return {n: p.grad for n, p in task.named_parameters() if p.grad is not None and "encoder.prior" not in n}
    mine, by_hand = gradients(dict(layers=("prior",))), gradients({}, True)
    assert mine.keys() == by_hand.keys() and mine
    for name in mine:
        torch.testing.assert_close(mine[name], by_hand[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("row", [a for a in VOICE if "diffusion" in a.change], ids=lambda a: a.row)
def test_every_target_and_schedule_can_learn_and_speak(row, voice, corpus):
    made = voice_preset(PRESETS["tiny"], row.change, 2, 2, 0)
    task = tiny_task(row.change)
    loss, _ = task(task.batch(torch.Generator().manual_seed(0), 2))
    assert torch.isfinite(loss)
    speaker = LatentSpeech(made, voice.autoencoder, task.encoder, task.denoiser, [corpus.utterances[0].speaker])
    (sound,), (z,) = say(speaker, corpus.utterances[:1], start_time=row.change.get("start_time", 1.0), n_steps=2)
    assert torch.isfinite(sound).all() and torch.isfinite(z).all()


def test_a_figure_knows_when_nothing_can_be_said():
    reference = figure([1.0, 2.0, 3.0])
    worse = figure([2.0, 3.0, 4.0], reference)
    assert (worse["difference"], worse["difference_low"], worse["difference_high"]) == (1, 1, 1)
    assert "worse" in verdict(worse)
    assert "better" in verdict(figure([0.5, 1.0, 1.5], reference))
    assert "no difference" in verdict(figure([1.0, 2.5, 2.5], reference))
    nothing = figure(Rate([0, 0], [0, 0]), figure(Rate([1, 0], [2, 2])))
    assert nothing["value"] is None and nothing["difference"] is None and json.dumps(nothing, allow_nan=False)


def small(tmp_path, *rows, **more):
    return ablations(rows=rows, preset="tiny", sentences=2, steps=2, batch=2, autoencoder_steps=1, quiet=True,
                     out=str(tmp_path / "r.json"), work=str(tmp_path / "work"), **more)


def test_the_command_goes_on_where_it_stopped(tmp_path, capsys):
    small(tmp_path, "trained: no prior loss", minutes=1e-9)
    assert "time is up" in capsys.readouterr().out
    assert not (tmp_path / "r.json").exists()
    assert small(tmp_path, "trained: no prior loss")["rows_there"] == 2
    first = recorded(tmp_path / "r.json")
    assert [r["row"] for r in first["rows"]] == ["trained: full system", "trained: no prior loss"]
    assert "--sentences 2" in first["command"]
    assert all(r["steps"] == 2 and (tmp_path / r["sound"]).exists() for r in first["rows"])
    assert first["rows"][1]["marks"]["spread"]["difference"] is not None
    assert small(tmp_path, "trained: latents not whitened", "autoencoder: no mel")["rows_there"] == 5
    both = recorded(tmp_path / "r.json")["rows"]
    assert both[:2] == first["rows"]
    assert [r["row"] for r in both[2:]] == ["trained: latents not whitened", "autoencoder: all terms",
                                            "autoencoder: no mel"]
    assert "mel distance, latent disturbed" in both[-1]["marks"]


def test_a_record_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "r.json").write_text(before := json.dumps(dict(seed=7, rows=[])))
    with pytest.raises(RecordError, match="another seed"):
        small(tmp_path, "natural")
    assert (tmp_path / "r.json").read_text() == before


def test_what_is_missing_is_said_in_tables(rows):
    few = {k: rows[k] for k in ("full system", "no condition")}
    text = table(few, "sampling").data
    assert "no condition" in text and "Not measured yet:** another seed" in text and "worse" in text
    assert "Not measured yet" in table({}, "voice").data and "|" not in table({}, "voice").data
    assert "yet" in who_pays({}).data
