"Experiments whose records are committed: rows of each are made again, small, from the experiment's own code."
import json, math, shlex, time
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace
import matplotlib, numpy as np, pytest, torch

matplotlib.use("Agg")
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import ConfigError, ReaderConfig, RefineConfig, TrainConfig, preset
from latentspeech.corpora import CorpusError, make_embedded_corpus
from latentspeech.espeak import speak_espeak
from latentspeech.experiments import train_autoencoder, train_latentspeech
from latentspeech.experiments.downstream import compactness_rows, probe_errors, see_corpus, witnesses
from latentspeech.experiments.harness import EXPERIMENTS, build_experiment_parser, command, experiments
from latentspeech.experiments.harness import find_experiment, main, results
from latentspeech.experiments.train_autoencoder import known_distances
from latentspeech.metrics import paired_interval
from latentspeech.reading import train_reader
from latentspeech.synthesis import LatentSpeech
from latentspeech.table import recorded
from latentspeech.weights import load_weights, weights_hash
from tools import fire, load_test

ROOT = Path(__file__).resolve().parents[1]


def record(name):
    return recorded(results(name))


def tiny_folder():
    return str(make_embedded_corpus(config=preset("tiny").corpus, progress=False).folder)


def few_sounds():
    corpus = make_embedded_corpus(config=preset("tiny").corpus, progress=False)
    return [corpus.audio(u) for u in corpus.split("train")[:6]]


def untrained(folder):
    torch.manual_seed(0)
    return Autoencoder(preset("tiny").autoencoder).save_pretrained(folder, "deaf").parent


@pytest.fixture(scope="module")
def seen():
    "Let the three witnesses of experiment 7 look at the tiny corpus."
    corpus = make_embedded_corpus(config=preset("tiny").corpus, progress=False)
    views = see_corpus(corpus, witnesses(corpus, Autoencoder.from_pretrained("mini")))
    return SimpleNamespace(views=views, train=corpus.split("train"), test=corpus.split("test"))


def test_experiment_7_a_line_reads_phones_from_a_mel_more_easily_than_from_a_latent(seen):
    rows = {r["view"]: r for r in record("76_downstream")["rows"] if r["task"] == "phone of a frame, wrong"}
    now = {name: probe_errors(seen.views[name], seen.train, seen.test, 0) for name in rows}
    def order(values):
        return sorted(values, key=values.get)
    assert order({k: float(v) for k, v in now.items()})[-1] == order({k: r["value"] for k,
                                                                      r in rows.items()})[-1] == "latent"
    # a small corpus teaches less: no better than the record, and far from chance
    for name, rate in now.items():
        assert rows[name]["low"] <= float(rate) < 0.9 and rate.n == len(seen.test)


def test_experiment_7_witnesses_have_the_sizes_that_it_says(seen):
    sizes = {name: next(iter(view.values())).shape[0] for name, view in seen.views.items()}
    assert sizes == {"latent": 16, "mel": 80, "mel, 16 axes": 16}


@pytest.fixture(scope="module")
def tts():
    return LatentSpeech.from_pretrained("mini")


def test_experiment_8_sentences_last_as_long_as_recorded(tts):
    kept = record("77_real_time")
    if kept["weights_sha256"]["voice"] != load_weights("mini", "voice")[1]["sha256"]:
        pytest.skip("the record is of another voice: measure it again")
    lengths = sorted(r["audio_seconds"] for r in kept["rows"] if r["what"] == "real-time factor")
    said = [tts.speak("今天天气很好，" * n, seed=0).seconds for n in (1, 2)]
    assert said == pytest.approx(lengths[:2], abs=0.03)      # one frame


def test_experiment_8_the_text_takes_next_to_nothing_beside_steps_and_decoder(tts):
    part = {r["what"]: r["value"] for r in record("77_real_time")["rows"]}
    text, z = "今天天气很好，我们一起去。", torch.randn(16, 96, generator=torch.Generator().manual_seed(0))
    def seconds(function):     # of this process alone, whatever else the machine does
        laps = []
        for _ in range(4):
            start = time.process_time()
            function()
            laps.append(time.process_time() - start)
        return median(laps[1:])
    phones = tts.plan(text)
    def say(n):
        return seconds(lambda: tts.latents([r[1] for r in phones.rows], [0] * len(phones.rows),
                                                    [0] * len(phones.rows), diffusion=tts.diffusion(n)))
    with torch.no_grad():
        now = {"text": seconds(lambda: tts.phones(text)), "8 steps": say(9) - say(1),
               "decoder": seconds(lambda: tts.autoencoder.decode(z[None]))}
    assert part["text"] < 0.1 * min(part["8 steps"], part["decoder"])
    assert now["text"] < 0.5 * min(now["8 steps"], now["decoder"])


def test_latents_are_denser_than_mels_as_recorded():
    kept = {(r["row"], r["metric"]): r for r in record("14_compactness")["rows"]}
    sound = speak_espeak("jin1 tian1 tian1 qi4".split())[0]
    rows = {(r["row"], r["metric"]): r for r in compactness_rows(Autoencoder.from_pretrained("mini"), [sound])}
    assert rows["latent", "sparsity"]["value"] < rows["mel", "sparsity"]["value"]
    assert kept["latent", "sparsity"]["high"] < kept["mel", "sparsity"]["low"]
    for key, row in rows.items():
        assert row["value"] == pytest.approx(kept[key]["value"], rel=0.25), key


def test_the_preset_speaks_as_validation_words_chose():
    """No row that asks the denoiser as seldom is clearer beyond chance, and plain steps are worse; its card agrees."""
    kept, chosen, card = record("71_guidance"), preset("base").diffusion, load_weights("base", "voice")[1]
    rows = {r["row"]: tuple(np.array(r["marks"]["SER (in-house)"][key].split(), float) for key in ("errors", "totals"))
            for r in kept["rows"] if r.get("calls", 99) <= 8}
    mine = rows.pop(f"{chosen.n_steps} steps, guidance {chosen.guidance:g}")
    better = {name: paired_interval(mine, other)[1:] for name, other in rows.items()}   # below 0: the preset's is
    assert len(better) >= 6 and not [name for name, (low, _) in better.items() if low > 0]
    assert all(high < 0 for name, (_, high) in better.items() if name.endswith("guidance 1"))
    assert kept["split"] == "valid" and kept["weights_sha256"]["voice"] == card["sha256"]
    assert {k: card["config"]["diffusion"][k] for k in ("n_steps", "guidance", "sampler")} == {
        "n_steps": chosen.n_steps, "guidance": chosen.guidance, "sampler": chosen.sampler}


def test_records_that_keep_sentences_add_up():
    for path in (ROOT / "data/results").glob("*.json"):
        for row in json.loads(path.read_text("utf8")).get("rows", []):
            if not row.get("errors") or row.get("value") is None:
                continue
            errors, totals = ([float(x) for x in row[key].split()] for key in ("errors", "totals"))
            assert (
                sum(errors) / sum(totals) == pytest.approx(row["value"], rel=1e-3, abs=1e-6)
                and len(errors) == len(totals) == row["n"]
            ), (path.name, row["row"])


def words_of(command):
    "Split a command into words, without what is set for it in the environment."
    words = shlex.split(command)
    while words and "=" in words[0]:
        words.pop(0)
    return words


RECORDS = sorted((ROOT / "data/results").rglob("*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.stem)
def test_the_command_of_a_record_runs_today(path):
    """Its words are read by the very parser that would run them; nothing is run."""
    kept = json.loads(path.read_text("utf8"))
    if kept.get("command") == "by hand":
        assert len(kept["by_hand"]) > 40 and any("failed" in t["outcome"] for t in kept["tried"])
        return
    words = words_of(kept.get("command") or ("make demo" if path.stem.startswith("demo") else ""))
    if words[:2] == ["latentspeech", "experiment"]:
        experiment = find_experiment(words[2])
        options = vars(build_experiment_parser(experiment).parse_args(words[3:]))
        asked = {k: v for k, v in options.items() if k not in ("function", "json")}
        again = vars(build_experiment_parser(experiment).parse_args(words_of(command(experiment, asked))[3:]))
        assert again == options and options["function"] is experiment
    elif words[:3] == ["python", "-m", "tools.run_notebooks"]:
        assert words[-1].startswith("nbs/") and (ROOT / words[-1]).is_file()
    elif words[:3] == ["python", "-m", "tools.load_test"]:
        load_test.build_parser().parse_args(words[3:])
    elif words[:3] == ["python", "-m", "tools.fire"]:
        fire.build_parser().parse_args(words[3:])
    else:
        assert words == ["make", "demo"], f"{path.name} does not say what makes it: {words}"


def test_every_experiment_is_a_function_with_help(capsys):
    assert set(experiments()) == set(EXPERIMENTS)
    for name in EXPERIMENTS:
        with pytest.raises(SystemExit) as done:
            main([name, "--help"])
        assert done.value.code == 0 and f"latentspeech experiment {name}" in capsys.readouterr().out


def test_an_experiment_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit) as done:
        main(["dowsing"])
    assert done.value.code == 2 and "verdicts" in capsys.readouterr().err


def test_recordings_without_times_are_refused_with_the_way_out(monkeypatch):
    corpus = make_embedded_corpus(config=preset("tiny").corpus, progress=False)
    timeless = corpus.with_utterances([replace(u, starts=None) for u in corpus])
    monkeypatch.setattr(train_latentspeech, "open_corpora", lambda *_: timeless)
    with pytest.raises(CorpusError, match="prepare --align"):
        train_latentspeech.evaluate_voice(voice=("mini",))


def test_a_search_has_a_row_of_its_own(tmp_path):
    paths = [str(tmp_path / name) for name in ("guessed.json", "searched.json")]
    for path, refine in zip(paths, ([], ["--refine", "2"])):
        assert not main(["reconstruction", "--weights", "mini", "--judge", "mini", "--speakers", "female", "--limit",
                         "1", "--split", "valid", "--out", path, *refine])
    guessed, searched = ({(r["row"], r["metric"]): r["value"] for r in recorded(path)["rows"]} for path in paths)
    new = {row for row, _ in searched} - {row for row, _ in guessed}
    assert new == {"mini, refined in 2 steps"}
    assert searched["mini, refined in 2 steps", "MCD"] != searched["mini", "MCD"] == guessed["mini", "MCD"]


def test_a_search_that_was_interrupted_goes_on_where_it_stopped(tmp_path, monkeypatch):
    corpus = make_embedded_corpus(config=preset("tiny").corpus, progress=False)
    mini = Autoencoder.from_pretrained("mini")
    some, sounds, seen = corpus.split("valid")[:3], corpus.audio, []
    def search(network, audio, config):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(audio.shape[-1])
        return torch.full((1, 2, 3), len(seen) / 7)
    monkeypatch.setattr(train_autoencoder, "refine_latents", search)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder.searched(mini, corpus, some, RefineConfig(2), tmp_path)
    first, seen[:] = list(seen), []
    found = train_autoencoder.searched(mini, corpus, some, RefineConfig(2), tmp_path)
    assert first + seen == [len(sounds(u)) for u in some]
    assert [z.shape for z in found] == [(1, 2, 3)] * 3 and torch.equal(found[1], torch.full((1, 2, 3), 2 / 7))
    seen.clear()
    assert len(train_autoencoder.searched(mini, corpus, some[:2], RefineConfig(3), tmp_path)) == len(seen) == 2


def test_distances_of_other_weights_are_measured_again_searched_or_not():
    earlier, shipped = results("70_train_autoencoder"), Autoencoder.from_pretrained("base")
    same = {key: recorded(earlier)[key] for key in ("split_sha256", "seed", "limit")}
    search = recorded(earlier)["search"]
    def rows(network, search=search):
        return {row.row for row in known_distances(earlier, {"base": network}, search, **same)["tan"]}
    assert {"base", "WORLD copy-synthesis"} <= rows(shipped)
    assert any(row.startswith("base, refined in ") for row in rows(shipped))
    otherwise = rows(shipped, dict(search, envelope=0.75))   # as long, for something else: measured anew
    assert "base" in otherwise and not any("refined" in row for row in otherwise)
    other = SimpleNamespace(card=dict(sha256="0" * 64))
    assert "WORLD copy-synthesis" in rows(other) and not [row for row in rows(other) if row.startswith("base")]


def test_gains_are_signed_and_paired_and_count_what_is_too_short_for_stoi(tmp_path):
    assert not main(["gains", "--weights", "deaf=" + str(untrained(tmp_path)), "twin=mini", "--against", "mini",
                     "--judge", "mini", "--limit", "2", "--split", "test", "--out", str(tmp_path / "gains.json")])
    kept = recorded(tmp_path / "gains.json")
    found = {(r["row"], r["metric"]): r for r in kept["rows"]}
    assert kept["against"] == "mini" and found["mini", "PESQ-wb"]["value"] > 2
    assert found["deaf", "PESQ-wb"]["high"] < 0 < found["deaf", "MCD"]["low"]
    assert found["mini", "MCD"]["value"] + found["deaf", "MCD"]["value"] > found["mini", "MCD"]["value"]
    assert {found[row, m]["value"] for row, m in found if row == "twin"} == {0}
    assert {row for row, _ in found} == {"natural", "mini", "deaf", "twin"}
    gap = train_autoencoder.gain("x", "STOI", [0.9, math.nan, 0.8], [0.5, 0.1, 0.6], 0)
    assert (round(gap.value, 6), gap.n, gap.failed) == (0.3, 3, 1)


def test_going_on_holds_the_encoder_unless_asked_and_a_mean_is_whitened_where_encoders_differ(tmp_path):
    untrained(tmp_path / "start")
    def ends(*more):
        folders = [str(tmp_path / f"{'-'.join(more)}{seed}") for seed in "12"]
        for seed, folder in zip("12", folders):
            assert not main(["go-on", "--preset", "tiny", "--corpus", tiny_folder(), "--start", str(tmp_path / "start"),
                             "--folder", folder, "--minutes", "0", "--steps", "2", "--seed", seed, "--reader", "",
                             *more])
        both = str(tmp_path / f"{'-'.join(more)}both")
        assert not main(["mean", "--corpus", tiny_folder(), "--weights", *folders, "--folder", both])
        return [Autoencoder.from_pretrained(folder) for folder in (tmp_path / "start", *folders, both)]
    held, learning = ends(), ends("--encoder", "--loss", "mel=0", "repetition=0.5")
    assert len({weights_hash(n.encoder) for n in held}) == 1 and len({weights_hash(n.decoder) for n in held}) == 4
    assert len({weights_hash(n.encoder) for n in learning}) == 4
    assert torch.equal(held[3].latent_mean, held[0].latent_mean)
    assert "repetition" in learning[1].card["last_losses"] and "repetition" not in held[1].card["last_losses"]
    latents = [learning[3].encode(sound[None, None]).detach()[0] for sound in few_sounds()]
    assert torch.cat(latents, 1).mean().abs() < 0.3


@pytest.mark.parametrize("term, told, error", [("sparkle=1", "LossConfig knows no sparkle", ConfigError),
                                               ("mel", "'mel=' gives a term of the loss no weight", ValueError),
                                               ("mel=loud", "'mel=loud' gives", ValueError),
                                               ("envelope_bands=9.5", "'envelope_bands=9.5' gives", ValueError)])
def test_a_loss_without_such_a_term_is_refused(term, told, error):
    with pytest.raises(error, match=told):
        train_autoencoder.go_on(loss=(term,), preset="tiny", reader="")


def test_a_young_network_may_go_on_faster_and_with_other_batches(tmp_path):
    untrained(tmp_path / "start")
    cards = []
    for name, more in ("as usual", {}), ("faster", dict(rate=2e-3)), ("with less", dict(batch=2)):
        train_autoencoder.go_on(corpus=tiny_folder(), start=str(tmp_path / "start"), folder=str(tmp_path / name),
                                minutes=0, steps=2, reader="", preset="tiny", **more)
        cards.append(load_weights(tmp_path / name, "autoencoder")[1])
    assert [card["batch"] for card in cards] == [8, 8, 2] and len({card["sha256"] for card in cards}) == 3


def test_who_goes_on_without_a_reader_teaches_one_first(tmp_path, monkeypatch):
    untrained(tmp_path / "start")
    taught = []
    def teach(corpus, folder):
        taught.append(folder)
        few = corpus.with_utterances(corpus.split("train")[:2])
        small = ReaderConfig(network=replace(ReaderConfig().network, width=16,
                                             recogniser=TrainConfig(steps=1, batch=2, warmup=1, ema=0)))
        train_reader(few, folder, small, progress=False)
    monkeypatch.setattr(train_autoencoder, "train_reader", teach)
    reader = str(tmp_path / "reader")
    (tmp_path / "reader").mkdir()
    (tmp_path / "reader" / "other.safetensors").write_bytes(b"weights of something else")
    for name, at in ("first", reader), ("second", reader), ("third", reader + "/reader.safetensors"):
        train_autoencoder.go_on(corpus=tiny_folder(), start=str(tmp_path / "start"), folder=str(tmp_path / name),
                                minutes=0, steps=1, reader=at, preset="tiny")
    assert taught == [reader]
    for name in ("second", "third"):
        assert "phones" in load_weights(tmp_path / name, "autoencoder")[1]["last_losses"]
