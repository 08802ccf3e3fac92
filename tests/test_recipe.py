"""A voice in stages: their order, what is kept, what is refused, and being killed on the way."""
import json, os, random, signal, time
from dataclasses import replace
import pytest
from forks import Fork
from latentspeech import recipe
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import RECIPE, StageConfig, preset
from latentspeech.corpora import CorpusError, make_embedded_corpus
from latentspeech.recipe import run_stage, train_in_stages
from latentspeech.synthesis import LatentSpeech
from latentspeech.tasks import train_autoencoder
from latentspeech.training import TrainingError
from latentspeech.weights import PretrainedError, load_weights, weights_hash

COMMAND = "-m", "latentspeech.cli", "train"
TINY, QUIET = preset("tiny"), dict(progress=False, device="cpu")


@pytest.fixture(scope="module")
def corpus():
    whole = make_embedded_corpus(config=TINY.corpus, progress=False)
    return whole.with_utterances([*whole.split("train")[:8], *whole.split("valid")[:2]])


@pytest.fixture(scope="module")
def done(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    return folder, train_in_stages(TINY, corpus, folder, 0.05, **QUIET)


def encoder_of(folder) -> str:
    return weights_hash(Autoencoder.from_pretrained(folder).encoder)


def test_a_recipe_is_whole_and_in_an_order_that_works():
    assert sum(stage.share for stage in RECIPE) == pytest.approx(1)
    assert len({stage.name for stage in RECIPE}) == len(RECIPE)
    parts = [stage.part for stage in RECIPE]
    assert parts[0] == "reader" and parts[-1] == "voice" and set(parts) == set(recipe.LEARN)
    learning = [stage.encoder for stage in RECIPE if stage.part == "autoencoder"]
    assert learning == sorted(learning, reverse=True), "an encoder that moves after the decoder alone undoes it"


def test_stages_stand_on_each_other(done):
    folder, log = done
    assert list(log["parts"]) == [stage.name for stage in RECIPE]
    assert all(facts["steps"] >= 1 and facts["with_set_up"] >= 0 for facts in log["parts"].values())
    hashes = {name: load_weights(folder / name, "autoencoder")[1] for name in ("young", "whole", "decoder")}
    assert hashes["whole"]["went_on_from"]["sha256"] == hashes["young"]["sha256"]
    assert hashes["decoder"]["went_on_from"]["sha256"] == hashes["whole"]["sha256"]
    assert encoder_of(folder / "young") != encoder_of(folder / "whole") == encoder_of(folder / "decoder")
    assert load_weights(folder, "autoencoder")[1]["sha256"] == hashes["decoder"]["sha256"]
    assert load_weights(folder, "voice")[1]["latent_hash"] == encoder_of(folder)
    seeds = [load_weights(folder / s.name, s.part)[1]["seed"] for s in RECIPE if s.part != "reader"]
    assert len(set(seeds)) == len(seeds)


def test_only_those_who_should_are_read_to(done):
    folder, _ = done
    names = ("young", "whole", "decoder")
    last = {name: load_weights(folder / name, "autoencoder")[1]["last_losses"] for name in names}
    assert "phones" not in last["young"] and "phones" in last["whole"] and "phones" in last["decoder"]


def test_what_comes_out_speaks(done):
    voice = LatentSpeech.from_pretrained(str(done[0]))
    speech = voice.speak("你好", seed=0)
    assert speech.audio.isfinite().all() and len(speech.audio) > 4800


def test_what_is_done_is_not_done_again(done, corpus, monkeypatch):
    folder, log = done
    def never(*stage, **how):
        raise AssertionError(f"{stage[0]} was done already")
    monkeypatch.setattr(recipe, "LEARN", dict.fromkeys(recipe.LEARN, never))
    assert train_in_stages(TINY, corpus, folder, 0.05, **QUIET)["parts"] == log["parts"]


@pytest.mark.parametrize("change", [dict(seed=1), dict(start="mini"), dict(preset=replace(TINY, name="other"))])
def test_another_recipe_needs_another_folder(done, corpus, change):
    with pytest.raises(TrainingError, match="choose another folder"):
        train_in_stages(**dict(preset=TINY, corpus=corpus, folder=done[0], minutes=0.05, **QUIET) | change)


def test_a_stage_that_was_interrupted_is_not_taken_for_finished(corpus, tmp_path, monkeypatch):
    "Its weights load, but they are the average of too few steps."
    train = recipe.train_autoencoder
    def stopped(*words, **how):
        run = train(*words, **how)
        run.interrupted = True
        return run
    monkeypatch.setattr(recipe, "train_autoencoder", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_in_stages(TINY, corpus, tmp_path, 0.02, **QUIET)
    assert list(json.loads((tmp_path / "log.json").read_text())["parts"]) == ["reader"]
    assert not list(tmp_path.glob("*.safetensors"))
    monkeypatch.setattr(recipe, "train_autoencoder", train)
    assert len(train_in_stages(TINY, corpus, tmp_path, 0.02, **QUIET)["parts"]) == len(RECIPE)


def test_a_network_that_has_grown_learns_at_the_full_rate(corpus, tmp_path):
    "As `young` does from `mini`; one of the same sizes goes on gently."
    small = replace(TINY, autoencoder=replace(TINY.autoencoder, channels=(8, 12, 16, 24)))
    train_autoencoder(small, corpus, tmp_path / "small", steps=1, **QUIET)
    stage, rate = StageConfig("young", "autoencoder", 1.0, reader=False), TINY.train_autoencoder.learning_rate
    grown = run_stage(stage, TINY, corpus, tmp_path / "a", dict(autoencoder=str(tmp_path / "small")), 0.01, 0, **QUIET)
    later = dict(autoencoder=str(tmp_path / "a" / "young"))
    same = run_stage(stage, TINY, corpus, tmp_path / "b", later, 0.01, 0, **QUIET)
    assert grown.config.learning_rate == rate and same.config.learning_rate == rate / TINY.train_autoencoder.warm_start
    assert not same.task.frozen and encoder_of(tmp_path / "a" / "young") != encoder_of(tmp_path / "b" / "young")


def start(corpus, folder, where):
    return Fork(*COMMAND, "all", "--staged", "--preset", "tiny", "--corpus", corpus.folder, "--minutes", "0.1", "--out",
                folder, cwd=where)


def test_killed_at_any_moment_the_same_command_ends_it(corpus, tmp_path):
    whole = make_embedded_corpus(config=TINY.corpus, progress=False)
    folder, dice, finished = tmp_path / "out", random.Random(5), []
    for _ in range(4):
        process = start(whole, folder, tmp_path)
        seen, due = set(finished), time.monotonic() + 120
        while process.poll() is None and set(finished) <= seen and time.monotonic() < due:   # a stage more, and then
            time.sleep(0.1)
            log = folder / "log.json"
            finished = list(json.loads(log.read_text())["parts"]) if log.exists() else []
        time.sleep(dice.random())
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for part in ("autoencoder", "voice"):
            try:
                load_weights(folder, part)
            except PretrainedError as error:
                assert "holds 0 sets" in str(error)
    said, complaint = start(whole, folder, tmp_path).communicate(timeout=240)
    assert "voice" in said, complaint
    log = json.loads((folder / "log.json").read_text())
    assert list(log["parts"]) == [stage.name for stage in RECIPE]
    assert load_weights(folder, "voice")[1]["latent_hash"] == encoder_of(folder)


@pytest.mark.parametrize("words, complaint", [
    (["all", "--staged"], "say how many"), (["voice", "--staged", "--minutes", "1"], "not 'voice'"),
    (["all", "--staged", "--clock", "--minutes", "1"], "choose one"),
    (["all", "--staged", "--track", "--minutes", "1"], "log of its own")])
def test_wishes_that_make_no_sense(corpus, words, complaint):
    done = Fork(*COMMAND, *words, "--preset", "tiny")
    said, told = done.communicate(timeout=120)
    assert done.returncode == 2 and complaint in told and "Traceback" not in told


def test_a_corpus_without_phones_is_refused_before_anything_is_trained(corpus, tmp_path):
    bare = corpus.with_utterances([replace(u, symbols=None, tones=None, starts=None) for u in corpus])
    with pytest.raises(CorpusError, match="text can be said"):
        train_in_stages(TINY, bare, tmp_path / "no", 0.05, **QUIET)
    assert not (tmp_path / "no").exists()
