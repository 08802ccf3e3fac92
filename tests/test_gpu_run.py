"A run that cannot be wasted: killed at any moment, what is there loads; the step on the device is the step of `fit`."
import json, math, os, random, shutil, signal, subprocess, sys, time
from dataclasses import replace
from pathlib import Path
import pytest, torch
from forks import Fork
from latentspeech import gpu_run as g
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import TimedRunConfig, preset
from latentspeech.corpora import make_embedded_corpus
from latentspeech.synthesis import LatentSpeech
from latentspeech.tasks import CropDataset
from latentspeech.training import TrainingError
from latentspeech.weights import load_weights

FIRE = "FIRE" in os.environ    # `make test-fire` kills at more moments
ROOT, TINY = Path(__file__).resolve().parents[1], preset("tiny")
COMMAND = "-m", "latentspeech.cli", "train"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_embedded_corpus(tmp_path_factory.mktemp("data"), config=TINY.corpus, progress=False)


@pytest.fixture(scope="module")
def sound(corpus, tmp_path_factory):
    return g.open_sound(TINY, corpus, "cpu", tmp_path_factory.mktemp("weights"), {}, 0)


def start(corpus, folder, *words):
    "Start the command in a process of its own."
    return Fork(*COMMAND, "all", "--clock", "--preset", "tiny", "--corpus", corpus.folder, "--out", folder, *words)


def loaded(folder):
    "Load every set of weights that is there; returns the parts."
    there = [part for part in ("autoencoder", "voice") if list(folder.glob(f"*-{part}.safetensors"))]
    for part in there:
        state, card = load_weights(folder, part)
        assert all(v.isfinite().all() for v in state.values() if v.is_floating_point())
    if "autoencoder" in there:
        Autoencoder.from_pretrained(folder)
    if "voice" in there:
        LatentSpeech.from_pretrained(folder).speak("你好")
    return there


def home(folder):
    "List what would be carried home, and see that it can be."
    files = [f for f in folder.iterdir() if f.is_file()]
    assert len(files) <= 6 and all(f.stat().st_size < TimedRunConfig.largest for f in files), files
    return sorted(f.name for f in files)


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
def test_make_gpu_ends_with_weights_that_load(tmp_path):
    words = ["make", "-n", "-o", ".venv/ready", "gpu", "MINUTES=0.1", "PRESET=tiny", "DEVICE=cpu", "CORPUS=embedded",
             f"OUT={tmp_path}/run", f"SPEAKER={sys.executable}\" -m \"latentspeech.cli"]
    # a make within `make test` would take its flags, and say where it is
    alone = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    line = subprocess.run(words, cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout
    subprocess.run(line, shell=True, cwd=ROOT, check=True, capture_output=True)
    assert loaded(tmp_path / "run") == ["autoencoder", "voice"]
    assert home(tmp_path / "run") == ["log.json", *(f"tiny-{part}.{kind}" for part in ("autoencoder", "voice")
                                                    for kind in ("json", "safetensors"))]


def test_killed_at_random_moments_what_is_there_loads(corpus, tmp_path):
    """Each run goes on where the one before was killed; half of the moments are right after a file appeared."""
    dice, folder, seen, steps = random.Random(0), tmp_path / "run", [], []
    moments, minutes, latest = (5, "0.6", 9) if FIRE else (2, "0.15", 3)
    for k in range(moments):
        process = start(corpus, folder, "--minutes", minutes)
        while not list(folder.glob("*.safetensors")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(dice.uniform(0, latest if k else 0.2))
        process.kill()
        process.wait()
        seen.append(loaded(folder))
        assert len(home(folder)) <= 6
        if (folder / "log.json").exists():
            steps.append(sum(part["steps"] for part in json.loads((folder / "log.json").read_text())["parts"].values()))
    assert all(seen) and steps == sorted(steps)
    (folder / ".gone.json.draft").write_text("half of a file that nobody will write again")
    finished = start(corpus, folder, "--minutes", minutes)
    assert finished.wait(120) == 0, finished.said()
    assert loaded(folder) == ["autoencoder", "voice"] and len(home(folder)) == 5


def test_a_signal_ends_it_with_what_it_has(corpus, tmp_path):
    process = start(corpus, tmp_path / "run", "--minutes", "5")
    while not (tmp_path / "run/log.json").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143, process.said()
    assert loaded(tmp_path / "run") == ["autoencoder"]
    assert json.loads((tmp_path / "run/log.json").read_text())["parts"]["autoencoder"]["steps"] > 0


def test_crops_are_those_of_the_corpus(corpus, sound):
    """As often from each clip as `CropDataset` draws them, and the same samples."""
    train = corpus.split("train")
    plain = CropDataset(corpus, train)
    drawn = g.draw_rows(sound.train.ends, 50_000, torch.Generator().manual_seed(0)).bincount(minlength=len(train))
    error = (plain.weights * (1 - plain.weights) / 50_000).sqrt()
    assert ((drawn / 50_000 - plain.weights).abs() < 5 * error).all()
    crops = sound.train.crops(torch.Generator().manual_seed(1), 40, 3000)
    everything, first = plain.samples, (crops[:, 0, :2] * 32768).short()
    for crop, start in zip(crops[:8], first):
        places = torch.nonzero((everything[:-1] == start[0]) & (everything[1:] == start[1]))[:, 0]
        wanted = (crop[0, :100] * 32768).short()
        assert any(torch.equal(everything[k:k + 100], wanted) for k in places.tolist())


def test_a_clip_shorter_than_a_crop_ends_in_silence(corpus, sound):
    n = int(sound.train.lengths.max()) + 1000
    crops = sound.train.crops(torch.Generator().manual_seed(0), 5, n)
    assert crops.shape == (5, 1, n) and (crops[..., -1000:] == 0).all() and (crops.abs().amax((1, 2)) > 0).all()


def test_shelves_hold_every_example_once_and_pad_as_the_task_does(corpus, sound):
    torch.manual_seed(0)
    network, speakers = Autoencoder(TINY.autoencoder).eval(), ["female", "male"]
    examples = g.voice_examples(sound, network, sound.train, "train", speakers)
    task = g.ShelvedVoiceTask(TINY, examples, 2, shelves=4)
    assert sum(len(s["z"]) for s in task.shelves) == len(task.examples) and len(task.shelves) == 4
    assert max(s["z"].shape[2] for s in task.shelves[:-1]) <= task.shelves[-1]["z"].shape[2]
    for shelf in range(4):
        batch = task.batch(torch.Generator().manual_seed(0), 5, shelf)
        assert batch["z"].shape[0] == batch["noise"].shape[0] == len(batch["keep"]) == 5
        assert (batch["durations"].sum(1) <= batch["z"].shape[2]).all()
        for row in range(5):
            n, frames = int(batch["lengths"][row]), int(batch["durations"][row].sum())
            assert (batch["symbols"][row, n:] == 0).all() and (batch["z"][row, :, frames + 1:] == 0).all()
        loss, terms = task(batch)
        assert loss.isfinite() and set(terms) == {"diffusion", "prior", "duration"}


def test_latents_in_one_sweep_are_those_of_each_clip(corpus, sound):
    torch.manual_seed(0)
    network = Autoencoder(TINY.autoencoder).eval()
    for u, z in list(zip(corpus.split("train"), g.encode_clips(network, sound.train, size=3)))[::5]:
        torch.testing.assert_close(z, network.encode(corpus.audio(u)[None, None])[0], rtol=1e-3, atol=1e-3)


def autoencoder_run(sound, folder):
    mine = replace(sound, folder=folder)
    return mine, g.autoencoder_part(mine, False), g.Log(folder, dict(preset="tiny"))


def test_worse_weights_never_replace_better_ones(sound, tmp_path):
    mine, part, log = autoencoder_run(sound, tmp_path)
    step, known = g.WholeStep(part.task, part.config), log.part("autoencoder")
    g.publish(part, step, known, {}, mine)
    first = load_weights(tmp_path, "autoencoder")[1]["sha256"]
    for v in step.average.values.values():
        v.mul_(3)
    g.publish(part, step, known, {}, mine)
    assert load_weights(tmp_path, "autoencoder")[1]["sha256"] == first
    assert len(known["curve"]) == 2 and known["curve"][1]["held_out"] > known["best"]


def test_what_is_not_finite_is_neither_learned_nor_kept(sound, tmp_path):
    mine, part, log = autoencoder_run(sound, tmp_path)
    step, known = g.WholeStep(part.task, part.config), log.part("autoencoder")
    g.publish(part, step, known, {}, mine)
    first = load_weights(tmp_path, "autoencoder")[1]["sha256"]
    part.task.clips = SimpleClips()
    before = {k: v.clone() for k, v in part.task.state_dict().items()}
    step(1e-3)
    assert all(torch.equal(v, before[k]) for k, v in part.task.state_dict().items()) and step.skipped == 1
    with pytest.raises(TrainingError, match="none of 1 steps was finite"):
        g.publish(part, step, known, {}, mine)
    for v in step.average.values.values():
        v.fill_(math.nan)
    step.taken = 2
    g.publish(part, step, known, {}, mine)
    assert load_weights(tmp_path, "autoencoder")[1]["sha256"] == first and known["curve"][-1]["held_out"] is None
    json.dumps(known, allow_nan=False)


class SimpleClips:
    "Sound that is not a number."
    def crops(self, generator, size, n_samples, looks=1):
        return torch.full((size, 1, n_samples), math.nan)


def test_a_second_stage_runs_in_32_bits_and_stays_finite(corpus, tmp_path):
    """All of `decoder`: the encoder stays, the decoder moves, and nothing is computed in fewer bits."""
    both = replace(TINY, parts=("autoencoder", "decoder"))
    sound = g.open_sound(both, corpus, "cpu", tmp_path, {}, 0)
    first = g.autoencoder_part(sound, False)
    first.twin.load_state_dict(first.task.state_dict())
    first.store({})
    before, part = load_weights(tmp_path, "autoencoder")[0], g.decoder_part(sound, False)
    step = g.WholeStep(part.task, part.config)
    kinds = set()
    for network in part.task.discriminators.modules():
        if isinstance(network, torch.nn.Conv2d):
            network.register_forward_hook(lambda module, args, out: kinds.add(out.dtype))
    for _ in range(3):
        terms = step(1e-4)
    assert kinds == {torch.float32} and step.skipped == 0 and all(v.isfinite() for v in terms.values())
    known = g.Log(tmp_path, {}).part("decoder") | dict(best=0.0)
    g.publish(part, step, known, terms, sound)
    after, card = load_weights(tmp_path, "autoencoder")
    assert all(torch.equal(after[k], before[k]) for k in after if k.startswith("encoder"))
    assert any(not torch.equal(after[k], before[k]) for k in after if k.startswith("decoder"))
    assert known["best"] > 0 and "first_stage" in card


def test_once_a_voice_has_begun_its_encoder_stays(corpus, tmp_path):
    g.timed_run(TINY, corpus, tmp_path / "run", 0.05, save_every=1)
    encoder = load_weights(tmp_path / "run", "autoencoder")[1]["sha256"]
    log = g.timed_run(TINY, corpus, tmp_path / "run", 0.1, save_every=1)
    assert load_weights(tmp_path / "run", "autoencoder")[1]["sha256"] == encoder
    assert log["parts"]["voice"]["seconds"] > 60 * 0.05 * 0.35
    assert loaded(tmp_path / "run") == ["autoencoder", "voice"]


def test_it_starts_from_other_weights(corpus, tmp_path):
    g.timed_run(TINY, corpus, tmp_path / "a", 0.04, save_every=1)
    log = g.timed_run(TINY, corpus, tmp_path / "b", 0.04,
                      starts=dict.fromkeys(("autoencoder", "voice"), tmp_path / "a"),
                      save_every=1)
    first = json.loads((tmp_path / "a/log.json").read_text())["parts"]
    for name, part in log["parts"].items():
        assert part["curve"][0]["held_out"] == pytest.approx(first[name]["best"], rel=0.1)
    assert load_weights(tmp_path / "b",
                        "voice")[1]["latent_hash"] == load_weights(tmp_path / "a", "voice")[1]["latent_hash"]


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "5", '{"preset": "tiny"}', '{"parts": 3}'])
def test_a_log_that_is_none_is_named(text, tmp_path):
    (tmp_path / "log.json").write_text(text)
    with pytest.raises(TrainingError, match="log.json is no log of a run"):
        g.Log(tmp_path, {})


def test_minutes_and_all_parts_are_demanded(corpus, tmp_path):
    for words in (["all", "--clock"], ["voice", "--clock", "--minutes", "1"]):
        done = Fork(*COMMAND, *words, "--preset", "tiny", "--corpus", corpus.folder)
        said, told = done.communicate(timeout=120)
        assert done.returncode == 2 and "--clock" in told and "Traceback" not in told


def test_the_plan_uses_all_of_the_time():
    for name in ("tiny", "mini", "base", "paper"):
        shared = g.plan(preset(name).parts, 540)
        assert sum(shared.values()) == pytest.approx(540) and "judge" not in shared


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("part", ["autoencoder", "decoder", "voice"])
def test_the_graph_takes_the_steps_of_the_plain_loop(corpus, tmp_path, part):
    """Dropout and draws differ, so the losses are compared after many steps, and every step must be finite."""
    sound = g.open_sound(TINY, corpus, "cuda", tmp_path, {}, 0)
    for name in ("autoencoder", "decoder", "voice"):
        made = g.PARTS[name](sound, False)
        step = g.WholeStep(made.task, made.config, "cuda")
        shapes = [(k,) for k in range(len(made.shares))] if len(made.shares) > 1 else [()]
        known = g.Log(tmp_path, {}).part(name)
        g.publish(made, step, known, {}, sound)
        if name == part:
            break
    first = made.measure()
    for k in range(60):
        terms = step(1e-3, *shapes[k % len(shapes)])
    assert len(step.graphs) == len(shapes) and step.skipped == 0 and all(v.isfinite() for v in terms.values())
    made.twin.load_state_dict(step.average.values)
    assert made.measure() < first * (1.5 if part == "decoder" else 1)
