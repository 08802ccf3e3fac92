"""Students against exact oracles, and what they must leave alone: teacher, encoder, steps of an interrupted run."""
from dataclasses import replace

import pytest
import torch
from torch import nn

from latentspeech.autoencoder import Autoencoder
from latentspeech.config import PRESETS, SAMPLE_RATE
from latentspeech.corpora import Corpus, make_embedded_corpus
from latentspeech.distillation import StudentTask, pair_loss, silent_example, train_student
from latentspeech.forward_diffusion import TARGETS, Schedule, target
from latentspeech.reverse_diffusion import sample
from latentspeech.synthesis import LatentSpeech
from latentspeech.tasks import voice_example
from latentspeech.text import SYMBOLS
from latentspeech.training import TrainingError, step_generator
from latentspeech.weights import load_weights, save_weights, weights_hash

TINY, double, flow = PRESETS["tiny"], dict(dtype=torch.float64), Schedule("flow")
def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def corpus():
    return make_embedded_corpus(config=TINY.corpus, progress=False)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, corpus):
    """A folder with a voice that knows nothing but answers loudly: its last layer is random instead of zero."""
    folder, tts = tmp_path_factory.mktemp("teacher"), LatentSpeech.untrained(TINY, tuple(corpus.speakers))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nn.init.normal_(tts.denoiser.leave[-1].weight, std=0.3)
    tts.autoencoder.save_pretrained(folder, "tiny", dict(corpus="none"))
    card = dict(speakers=corpus.speakers, symbols=SYMBOLS, heard=SYMBOLS,
                latent_hash=weights_hash(Autoencoder.from_pretrained(folder).encoder), corpus="embedded")
    save_weights(folder / "tiny-voice", nn.ModuleDict(dict(encoder=tts.encoder, denoiser=tts.denoiser)), TINY, card)
    return folder


def task_of(teacher, corpus, n_steps=4, draws=2, **diffusion):
    state, card = load_weights(teacher, "voice")
    preset = replace(TINY, diffusion=replace(TINY.diffusion, **diffusion),
                     train_voice=replace(TINY.train_voice, noise_draws=draws))
    return StudentTask(preset, [silent_example(u, card["speakers"]) for u in corpus.split("train")], state,
                       len(card["speakers"]), n_steps)


def distil(teacher, corpus, folder, preset="tiny", **options):
    return train_student(preset, corpus, folder, teacher, device="cpu", progress=False, **options)


# ------------------------------------------------------------------ oracles

def fit_linear(noise, answers):
    "The student a + b noise that minimises `pair_loss` at t = 1, in closed form."
    def columns(z):
        return torch.cat([z, torch.ones(len(z), 1, **double)], 1)
    weights = torch.linalg.lstsq(columns(noise), noise - answers).solution
    return lambda z, t: columns(z) @ weights


def test_a_linear_student_is_eight_steps_in_one():
    """A Gaussian's walk is a linear map of the noise; strangers for pairs, as in ordinary training, teach the mean."""
    mean, spread = torch.tensor([1.5, -0.7], **double), torch.tensor([0.5, 1.2], **double)
    def exact(z, t):
        alpha, sigma = 1 - t[:, None], t[:, None]
        return (z - mean - alpha * spread ** 2 / (alpha ** 2 * spread ** 2 + sigma ** 2) * (z - alpha * mean)) / sigma
    noise, fresh = (torch.randn(4000, 2, generator=seeded(s), **double) for s in (0, 1))
    student = fit_linear(noise, sample(exact, noise, flow, n_steps=8))
    torch.testing.assert_close(sample(student, fresh, flow, n_steps=1), sample(exact, fresh, flow, n_steps=8),
                               rtol=0, atol=1e-10)
    stranger = fit_linear(noise, mean + spread * torch.randn(4000, 2, generator=seeded(2), **double))
    jump = sample(stranger, fresh, flow, n_steps=1)
    assert (jump - mean).abs().max() < 0.3 and (sample(exact, fresh, flow, n_steps=8) - mean).abs().max() > 2


def test_the_walks_of_a_teacher_never_cross():
    """On a line the order of the noises is the order of the answers, for data with a gap in the middle, too."""
    def exact(z, t):  # data: half at -1, half at 1, each of width 0.1
        alpha, sigma = 1 - t[:, None], t[:, None]
        spread = alpha ** 2 * 0.01 + sigma ** 2
        middle = (2 * alpha * z / spread).sigmoid() * 2 - 1
        return (z - middle - alpha * 0.01 / spread * (z - alpha * middle)) / sigma
    noise = torch.randn(2000, 1, generator=seeded(), **double).sort(0).values
    answers = sample(exact, noise, flow, n_steps=64)
    assert (answers.diff(dim=0) >= 0).all() and (answers < 0).double().mean() == pytest.approx(0.5, abs=0.03)
    assert not (answers[torch.randperm(2000, generator=seeded())].diff(dim=0) >= 0).all()


@pytest.mark.parametrize("kind", TARGETS)
def test_a_student_that_knows_its_pairs_has_no_loss(kind):
    noise, z_0 = torch.randn(2, 6, 3, 5, generator=seeded(), **double)
    t = torch.tensor([0.25, 0.5, 0.75, 1, 0.1, 0.9], **double)
    def knows(z, t):
        return target(kind, z_0, noise, *flow.alpha_sigma(t))
    assert pair_loss(knows, flow, kind, z_0, noise, t) == 0
    def wrong(z, t):
        return knows(z, t) + 2
    assert pair_loss(wrong, flow, kind, z_0, noise, t) == pytest.approx(4)


def test_at_the_start_the_loss_is_how_far_the_jump_misses_and_padding_counts_for_nothing():
    noise, z_0 = torch.randn(2, 2, 3, 8, generator=seeded(), **double)
    mask = torch.ones(2, 1, 8, **double)
    mask[1, :, 3:] = 0
    def guess(z, t):
        return z.tanh()
    jump = sample(guess, noise, flow, n_steps=1)
    expected = torch.stack([(jump[0] - z_0[0]).square().mean(), (jump[1] - z_0[1])[:, :3].square().mean()]).mean()
    assert pair_loss(guess, flow, "velocity", z_0, noise, torch.ones(2, **double),
                     mask).item() == pytest.approx(expected.item())


# ------------------------------------------------------------------ the task

def test_practice_needs_no_sound(corpus):
    u = corpus.split("train")[0]
    silent, loud = (
        silent_example(u, corpus.speakers),
        voice_example(u, torch.randn(16, round(u.seconds * SAMPLE_RATE / 1024)), corpus.speakers),
    )
    assert silent["z"].abs().sum() == 0 and silent["z"].shape[1] == silent["durations"].sum()
    assert abs(silent["z"].shape[1] - loud["z"].shape[1]) <= 1
    assert all(torch.equal(silent[k], loud[k]) for k in silent if k != "z")


def test_the_answer_is_the_voices_own_walk(teacher, corpus):
    """The teacher's answers in a padded, guided batch are those of `LatentSpeech` for the same text and noise."""
    task = task_of(teacher, corpus, draws=1, guidance=1.7)
    b = task.batch(step_generator(3, 0), 3)
    out = task.encoder(b["symbols"], b["tones"], b["speakers"], b["lengths"], b["durations"], n_frames=b["z"].shape[2])
    together = task.answer(out, b["noise"][:, 0], out.frame_mask)
    assert len(set(out.frame_lengths.tolist())) > 1
    for i, n in enumerate(out.frame_lengths.tolist()):
        def denoise(z, t, conditional=True):
            return task.teacher(z, t, out.hidden[i:i + 1, :, :n] if conditional else None)
        alone = sample(denoise, b["noise"][i, :1, :, :n], flow, n_steps=TINY.diffusion.n_steps, guidance=1.7)
        torch.testing.assert_close(together[i:i + 1, :, :n], alone, atol=1e-4, rtol=1e-4)
        assert together[i, :, n:].abs().sum() == 0
    plain = task_of(teacher, corpus, draws=1).answer(out, b["noise"][:, 0], out.frame_mask)
    assert (plain - together).abs().max() > 0.01  # guidance is heard


@pytest.mark.parametrize("n_steps", (1, 2, 4))
def test_lessons_are_given_at_the_times_of_the_student_alone(teacher, corpus, n_steps):
    task = task_of(teacher, corpus, n_steps)
    times = torch.cat([task.batch(step_generator(0, k), 4)["times"].flatten() for k in range(20)])
    assert set(times.tolist()) == set(flow.times(n_steps)[:-1].float().tolist())


def test_several_draws_mean_what_several_examples_mean(teacher, corpus):
    task = task_of(teacher, corpus, draws=2)
    b = task.batch(step_generator(0, 1), 3)
    apart = [task(dict(b, **{k: b[k][:, i:i + 1] for k in ("times", "noise")}))[0] for i in range(2)]
    torch.testing.assert_close(task(b)[0], sum(apart) / 2, atol=1e-5, rtol=1e-5)


def test_only_the_student_learns(teacher, corpus):
    task = task_of(teacher, corpus, 1)
    before = {name: weights_hash(part) for name, part in task.named_children()}
    assert before["denoiser"] == before["teacher"] and not task.train().encoder.training
    task(task.batch(step_generator(0, 0), 4))[0].backward()
    moved = {name.split(".")[0] for name, p in task.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {"denoiser"}


def test_lessons_bring_a_single_step_nearer_to_the_teacher(teacher, corpus):
    task = task_of(teacher, corpus, 1)
    unseen = [task.batch(step_generator(1, k), 8) for k in range(4)]
    def missed():
        with torch.no_grad():
            return sum(task(b)[0].item() for b in unseen)
    before, optimizer = missed(), torch.optim.AdamW(task.denoiser.parameters(), 2e-3)
    for k in range(40):
        loss, _ = task(task.batch(step_generator(0, k), 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert missed() < 0.6 * before, (before, missed())


@pytest.mark.parametrize("diffusion", (dict(schedule="linear", n_train_steps=50, target="epsilon"),
                                       dict(initial_noise="uniform")))
def test_a_sampler_that_starts_from_something_else_is_refused(teacher, corpus, diffusion):
    with pytest.raises(TrainingError, match="pure Gaussian noise"):
        task_of(teacher, corpus, **diffusion)


# ------------------------------------------------------------------ the command

def test_the_students_voice_speaks_in_its_own_number_of_steps(teacher, corpus, tmp_path):
    run = distil(teacher, corpus, tmp_path, n_steps=2, steps=6)
    old, voice = LatentSpeech.from_pretrained(teacher), LatentSpeech.from_pretrained(tmp_path)
    assert weights_hash(voice.encoder) == weights_hash(old.encoder)
    assert weights_hash(voice.denoiser) != weights_hash(old.denoiser)
    assert weights_hash(voice.autoencoder) == weights_hash(old.autoencoder)
    card = voice.card["distilled"]
    assert card == dict(teacher="tiny", teacher_sha256=old.card["sha256"], teacher_corpus="embedded",
                        teacher_steps=8, n_steps=2)
    assert {k: voice.card[k] for k in ("speakers", "symbols", "heard",
                                       "latent_hash")} == {k: old.card[k]
                                                           for k in ("speakers", "symbols", "heard", "latent_hash")}
    assert {"licence", "machine", "training_seconds", "seed"} <= voice.card.keys()
    assert voice.card["steps"] == run.step == 6
    walk = []
    speech = voice.speak("你好。", callback=lambda **now: walk.append(now["step"]))
    assert walk == [0, 1] and torch.isfinite(speech.audio).all() and speech.seconds == old.speak("你好。").seconds


def test_guidance_is_learned_and_then_off(teacher, corpus, tmp_path):
    state, card = load_weights(teacher, "voice")
    guided = replace(TINY, diffusion=replace(TINY.diffusion, guidance=2.0))
    strong = tmp_path / "strong"
    strong.mkdir()
    tts = LatentSpeech.from_pretrained(teacher)
    save_weights(strong / "tiny-voice", nn.ModuleDict(dict(encoder=tts.encoder, denoiser=tts.denoiser)), guided,
                 {k: v for k, v in card.items() if k not in ("sha256", "config")})
    distil(strong, corpus, tmp_path / "student", steps=2)
    config = load_weights(tmp_path / "student", "voice")[1]["config"]["diffusion"]
    assert (config["guidance"], config["n_steps"], config["sampler"]) == (1.0, 4, "ddim")


def test_an_interrupted_student_ends_bit_identical(teacher, corpus, tmp_path):
    often = replace(TINY, train_voice=replace(TINY.train_voice, save_every=2))
    whole = distil(teacher, corpus, tmp_path / "whole", often, steps=7)
    def power_cut(run, terms):
        if run.step == 5:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        distil(teacher, corpus, tmp_path / "parts", often, steps=7, callback=power_cut)
    seen = []
    parts = distil(teacher, corpus, tmp_path / "parts", often, steps=7, callback=lambda run,
                   terms: seen.append(run.step))
    def read(folder):
        return (folder / "tiny-voice.safetensors").read_bytes()
    assert seen == [5, 6, 7] and [h["loss"] for h in parts.history] == [h["loss"] for h in whole.history]
    assert read(tmp_path / "whole") == read(tmp_path / "parts")
    distil(teacher, corpus, tmp_path / "other", often, steps=6)
    assert read(tmp_path / "whole") != read(tmp_path / "other")


def test_a_corpus_of_strangers_is_refused(teacher, corpus, tmp_path):
    strangers = Corpus(corpus.folder, "strangers", [replace(u, speaker="tan") for u in corpus.utterances])
    with pytest.raises(TrainingError, match="nobody in strangers.*female, male"):
        distil(teacher, strangers, tmp_path, steps=1)
