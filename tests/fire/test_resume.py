"""What a run must refuse, and what it must survive: other data, interrupts, gradients that are no numbers."""
import json, signal, time
from dataclasses import replace
from pathlib import Path
import pytest, torch
from forks import Fork
from latentspeech.autoencoder import Autoencoder
from latentspeech.cli import main
from latentspeech.config import TrainConfig, preset
from latentspeech.corpora import Corpus, make_embedded_corpus
from latentspeech.judge import train_judge
from latentspeech.tasks import train_autoencoder, train_voice
from latentspeech.training import TrainingError, latest_checkpoint

ROOT = Path(__file__).resolve().parents[2]
QUICK = dict(steps=3, batch=2, device="cpu", progress=False)


@pytest.fixture(scope="module")
def corpus():
    return make_embedded_corpus(config=preset("tiny").corpus, progress=False)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    "Two autoencoders of the tiny size, with other weights."
    folders = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        folders.append(tmp_path_factory.mktemp(f"network-{seed}"))
        Autoencoder(preset("tiny").autoencoder).save_pretrained(folders[-1], "tiny", {})
    return folders


def fewer(corpus):
    "Return the corpus without its last training sentence."
    lost = corpus.split("train")[-1].id
    return Corpus(corpus.folder, corpus.name, [u for u in corpus.utterances if u.id != lost], corpus.recipe, [])


def test_a_voice_refuses_latents_of_other_weights(corpus, networks, tmp_path):
    train_voice("tiny", corpus, tmp_path, autoencoder=str(networks[0]), **QUICK)
    with pytest.raises(TrainingError, match="latents: .* then, .* now"):
        train_voice("tiny", corpus, tmp_path, autoencoder=str(networks[1]), **dict(QUICK, steps=5))
    assert latest_checkpoint(tmp_path)["step"] == 3


@pytest.mark.parametrize("train", [train_autoencoder, train_judge])
def test_a_run_refuses_another_corpus(corpus, tmp_path, train):
    train("tiny", corpus, tmp_path, **QUICK)
    with pytest.raises(TrainingError, match="corpus: embedded .* then, embedded .* now"):
        train("tiny", fewer(corpus), tmp_path, **dict(QUICK, steps=5))


def test_a_voice_refuses_other_speakers_and_another_corpus(corpus, networks, tmp_path):
    train_voice("tiny", corpus, tmp_path, autoencoder=str(networks[0]), **QUICK)
    one = [u for u in corpus.utterances if u.speaker == corpus.speakers[0]]
    alone = Corpus(corpus.folder, corpus.name, one, corpus.recipe, [])
    with pytest.raises((TrainingError, RuntimeError), match="speakers|size mismatch"):
        train_voice("tiny", alone, tmp_path, autoencoder=str(networks[0]), **dict(QUICK, steps=5))
    with pytest.raises(TrainingError, match="corpus"):
        train_voice("tiny", fewer(corpus), tmp_path, autoencoder=str(networks[0]), **dict(QUICK, steps=5))


@pytest.mark.parametrize("layer", [0, -1])
def test_a_gradient_that_is_no_number_never_reaches_a_checkpoint(corpus, tmp_path, layer):
    "The loss is finite, the gradient isn't: the step isn't taken, and the last good checkpoint stays the newest."
    from latentspeech.tasks import AutoencoderTask, CropDataset
    from latentspeech.training import fit
    task = AutoencoderTask(preset("tiny"), CropDataset(corpus, corpus.split("train")[:4]))
    weight = [p for p in task.autoencoder.parameters() if p.requires_grad][layer]
    steps = []
    def poison(gradient):
        return gradient * float("inf") if len(steps) == 5 else gradient
    weight.register_hook(poison)
    config = TrainConfig(steps=10, batch=2, warmup=2, save_every=1)
    with pytest.raises(TrainingError, match="step 5: the gradient's norm is (nan|inf)"):
        fit(task, config, tmp_path, device="cpu", progress=False, callback=lambda run, terms: steps.append(1))
    state = latest_checkpoint(tmp_path)
    assert state["step"] == 5 and all(v.isfinite().all() for v in state["task"].values() if v.is_floating_point())
    report = json.loads((tmp_path / "not-finite-00000005.json").read_text())
    assert report["seed"] == 0 and report["step"] == 5


def shell(*words, cwd):
    return Fork("-m", "latentspeech.cli", *words, cwd=cwd)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_train_all_ships_nothing_and_begins_nothing_more(tmp_path, number, code):
    "The first part is stopped in its middle: its stub isn't shipped, the next part isn't begun, --resume goes on."
    shipped = {p.name: p.stat().st_mtime_ns for p in (ROOT / "latentspeech/pretrained").iterdir()}
    process = shell("train", "all", "--preset", "tiny", "--steps", "100000", "--out", "weights", cwd=tmp_path)
    status = tmp_path / "out/train/tiny/judge/progress.json"
    deadline = time.monotonic() + 300
    while not status.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    said, told = process.communicate(timeout=300)
    assert process.returncode == code, told[-2000:]
    assert not list((tmp_path / "weights").glob("*")), "a stub was shipped"
    assert sorted(p.name for p in (tmp_path / "out/train/tiny").iterdir()) == ["judge"]
    reached = latest_checkpoint(tmp_path / "out/train/tiny/judge")["step"]
    done = shell("train", "judge", "--preset", "tiny", "--steps", str(reached + 2), "--out", "weights", "--resume",
                 "--json", cwd=tmp_path)
    said, told = done.communicate(timeout=300)
    assert done.returncode == 0 and json.loads(said)["judge"]["steps"] == reached + 2, told[-2000:]
    assert {p.name: p.stat().st_mtime_ns for p in (ROOT / "latentspeech/pretrained").iterdir()} == shipped


@pytest.mark.parametrize("words, says", [
    (["train", "judge", "--preset", "tiny", "--steps", "-5"], "0 or more"),
    (["train", "judge", "--preset", "tiny", "--minutes", "-1"], "0 or more"),
    (["train", "judge", "--preset", "tiny", "--device", "cuda"], "no cuda here"),
    (["speak", "你好", "--device", "cuda"], "no cuda here"),
    (["serve", "--device", "cuda"], "no cuda here"),
    (["evaluate", "--preset", "mini", "--device", "cuda"], "no cuda here")])
def test_bad_words_are_refused_before_any_work(words, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert says in err and len(err.strip().splitlines()) == 1 and not out and not list(tmp_path.iterdir())
