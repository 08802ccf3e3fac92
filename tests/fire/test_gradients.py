"""Where a gradient could stop being a number: silence, extremes, 16 bits, filters that died, a replayed graph."""
import json, math
from dataclasses import replace
from types import SimpleNamespace
import pytest, torch
from test_gpu_run import autoencoder_run, corpus, sound   # fixtures
from test_training import CONFIG, make_task
from latentspeech import gpu_run, losses, training
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import preset
from latentspeech.training import TrainingError, fit, latest_checkpoint

LENGTH, SMALL = 2048, (128, 512)
SIZES = (0.0, 1e-38, 1e-30, 1e-23, 1e-7, 1e4)    # of what the decoder says; below 1e-19 a square is no float any more


def bands(audio):
    return audio.reshape(len(audio), 16, -1)


@pytest.fixture(scope="module")
def judges():
    torch.manual_seed(0)
    return dict(periods=losses.MultiPeriodDiscriminator((2, 5), (1, 8, 8)),
                resolutions=losses.MultiResolutionDiscriminator(SMALL, (2, 8, 8)))


def distances(judge):
    "Return name -> a loss of what was said and what was wanted, as both stages of training add them up."
    reconstruction = losses.ReconstructionLoss(
        SMALL, phase=1, phase_windows=SMALL, phase_top=12_000, envelope=1, modulation=1, envelope_window=512,
        periodicity=1, periodicity_window=512, repetition=1, repetition_window=32, repetition_lags=(8, 16))
    return dict(
        mel=lambda p, t: losses.mel_distance(p, t, SMALL),
        convergence=lambda p, t: losses.spectral_convergence(p, t, SMALL),
        stft=lambda p, t: losses.stft_distance(p, t, SMALL),
        phase=lambda p, t: losses.phase_distance(p, t, SMALL, sample_rate=16_000),
        band=lambda p, t: losses.band_distance(bands(p), bands(t)),
        envelope=lambda p, t: sum(losses.envelope_distance(p, t).values()),
        periodicity=lambda p, t: losses.periodicity_distance(p, t),
        paper=lambda p, t: losses.paper_loss(bands(p), bands(t), (16, 64)),
        first=lambda p, t: reconstruction(p, t, bands(p), bands(t))[0],
        draws=lambda p, t: reconstruction(torch.cat([p, p.detach()]), t)[0],   # that agree: the distance has a corner
        verdict=lambda p, t: losses.adversarial_loss(judge(p)),
        matching=lambda p, t: losses.feature_matching_loss(judge(t), judge(p)),
        judged=lambda p, t: losses.discriminator_loss(judge(t), judge(p)))


@pytest.mark.parametrize("half", [False, True], ids=["32 bits", "16 bits"])
@pytest.mark.parametrize("target", ["silence", "sound", "the same"])
@pytest.mark.parametrize("size", SIZES)
def test_no_loss_has_an_infinite_slope(judges, size, target, half):
    "At exact silence, where squares underflow, and far outside: loss and gradients are numbers, in bfloat16 too."
    noise = torch.randn(2, 1, LENGTH, generator=torch.Generator().manual_seed(0))
    for kind, judge in judges.items():
        for name, distance in distances(judge).items():
            said = (noise * size).requires_grad_()
            wanted = dict(silence=torch.zeros_like(noise), sound=0.1 * noise)
            judge.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = distance(said, wanted.get(target, said.detach()))
            loss.backward()
            slopes = [said.grad, *(p.grad for p in judge.parameters() if p.grad is not None)]
            assert loss.isfinite() and all(s.isfinite().all() for s in slopes), (kind, name)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-7])
def test_a_filter_that_died_can_be_trained_on(size):
    """Weight normalisation divides by a filter's length. A filter that training brought to nothing is stored as zeros
    (in 16 bits from 3e-8 on), speaks as before, and made every gradient of the next stage a NaN."""
    network = Autoencoder(preset("tiny").autoencoder).eval().fuse()
    layers = [m for m in network.modules() if isinstance(m, (torch.nn.Conv1d, torch.nn.ConvTranspose1d))]
    with torch.no_grad():
        for layer in layers:
            layer.weight.select(int(isinstance(layer, torch.nn.ConvTranspose1d)), 0).fill_(size)
    audio = 0.1 * torch.randn(1, 1, 8192, generator=torch.Generator().manual_seed(0))
    before = network(audio).detach()
    network.unfuse()
    after = network(audio)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-6)
    after.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    torch.testing.assert_close(network.fuse()(audio), before, rtol=1e-4, atol=1e-6)


class Replayed(training.Graphed):
    "Stand for a recorded graph on a machine without a GPU: what it would replay is computed anew."
    def __init__(self, task, batch):
        self.batch = {k: v.clone() for k, v in batch.items()}
        def replay():
            task.zero_grad(set_to_none=True)
            self.loss, self.terms = task(self.batch)
            self.loss.backward()
        self.graph = SimpleNamespace(replay=replay)


@pytest.mark.parametrize("what, says", [("loss", "loss is nan"), ("gradient", "the gradient's norm is (nan|inf)")])
def test_a_graph_that_computes_no_number_moves_nothing(tmp_path, monkeypatch, what, says):
    "The step isn't taken, the report names it, and the last good checkpoint stays the newest."
    monkeypatch.setattr(training, "Graphed", Replayed)
    task, steps = make_task(0.0), []
    forward = task.forward
    def poisoned(batch):
        loss, terms = forward(batch)
        return loss * (math.nan if what == "loss" and len(steps) == 5 else 1), terms
    task.forward = poisoned
    if what == "gradient":
        task.net[0].weight.register_hook(lambda g: g * (math.inf if len(steps) == 5 else 1))
    def callback(run, terms):
        steps.append(run.step)
        run.graphable = True     # as on a GPU of its own
        assert len(steps) < 2 or isinstance(run.graphed, Replayed)
    with pytest.raises(TrainingError, match=f"step 5: {says}"):
        fit(task, replace(CONFIG, save_every=1), tmp_path, device="cpu", progress=False, callback=callback)
    state = latest_checkpoint(tmp_path)
    assert state["step"] == 5 and all(v.isfinite().all() for v in state["task"].values())
    for name, value in task.state_dict().items():
        assert torch.equal(value, state["task"][name]), f"{name} moved"
    assert json.loads((tmp_path / "not-finite-00000005.json").read_text())["seed"] == CONFIG.seed


def test_the_step_on_the_device_skips_by_a_flag(sound, tmp_path):
    "A finite loss with an infinite gradient: weights and statistics stay, the flag counts, the next step is taken."
    _, part, _ = autoencoder_run(sound, tmp_path)
    step = gpu_run.WholeStep(part.task, part.config)
    step(1e-3)
    hook = step.moving[0].register_hook(lambda g: g * math.inf)
    before = {k: v.clone() for k, v in part.task.state_dict().items()}
    terms = step(1e-3)
    assert terms["loss"].isfinite() and not terms["gradient"].isfinite() and step.skipped == 1
    assert all(torch.equal(v, before[k]) for k, v in part.task.state_dict().items())
    assert all(v.isfinite().all() for v in step.average.values.values())
    hook.remove()
    step(1e-3)
    assert step.skipped == 1 and any(not torch.equal(v, before[k]) for k, v in part.task.state_dict().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_real_graph_that_computes_no_number_moves_nothing(sound, tmp_path):
    _, part, _ = autoencoder_run(sound, tmp_path)
    step = gpu_run.WholeStep(part.task, part.config, "cuda")
    step(1e-3)
    with torch.no_grad():
        step.moving[0].view(-1)[0] = math.nan
    before = {k: v.clone() for k, v in part.task.state_dict().items()}
    step(1e-3)
    assert step.skipped == 1
    assert all(torch.equal(v.nan_to_num(), before[k].nan_to_num()) for k, v in part.task.state_dict().items())
