"The one-graph sampler against the plain loop; on a machine with a GPU, recorded graphs too."
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentspeech.config import FRAME, FRAME_RATE, DenoiserConfig, preset
from latentspeech.denoiser import Denoiser
from latentspeech.experiments.efficiency import gpu_sampling
from latentspeech.forward_diffusion import Schedule
from latentspeech.gpu_sampling import (GraphSampler, bucket_frames, count_work, export_onnx, low_precision, parity,
                                       random_inputs, random_system, sample_onnx)
from latentspeech.reverse_diffusion import SAMPLERS, GuidedDenoiser, draw_noise, sample
from latentspeech.synthesis import LatentSpeech
from latentspeech.files import MissingExtra

ROOT = Path(__file__).resolve().parents[1]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


@pytest.mark.parametrize("device", DEVICES)
def test_parity(device):
    checked = parity(device, "tiny", (30, 100, 7))
    assert checked["same_bits"] and checked["graph_against_plain"] < 1e-4 and checked["batch_against_alone"] < 1e-4
    assert checked["bfloat16_snr_db"] > 25


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s != "ancestral"])
@pytest.mark.parametrize("guidance", (1.0, 2.0))
def test_equals_the_plain_loop(sampler, guidance):
    denoiser, autoencoder, diffusion = random_system("tiny")
    diffusion = replace(diffusion, sampler=sampler, guidance=guidance, guidance_rescale=0.7, n_steps=4)
    hidden, z_T, mask = random_inputs(denoiser, [50])
    audio = GraphSampler(denoiser, autoencoder, diffusion)(hidden, z_T, mask)
    assert audio.shape == (1, 1, 50 * FRAME)
    with torch.no_grad():
        z = sample(lambda z, t, conditional=True: denoiser(z, t, hidden if conditional else None), z_T,
                   Schedule("flow"), "velocity", 4, sampler, guidance, guidance_rescale=0.7)
        plain = autoencoder.decode(torch.nn.functional.pad(z, (0, autoencoder.context)))[..., :50 * FRAME]
    torch.testing.assert_close(audio, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", (preset("tiny").denoiser,
                                    DenoiserConfig(layers=5, width=16, dilation_cycle=3, step_width=16,
                                                   condition="bottleneck")))
def test_what_is_prepared_predicts_what_the_denoiser_predicts(config):
    """With and without mask and text, at every time of two schedules, for the usual network and the paper's."""
    torch.manual_seed(0)
    denoiser = Denoiser(config, 24).eval()
    torch.nn.init.normal_(denoiser.leave[-1].weight)
    hidden, z, mask = random_inputs(denoiser, [30, 17])
    for times in (Schedule("flow").times(8), Schedule("linear", 50).times(50)):
        table = denoiser.time_table(times)
        for t in times[:: len(times) // 4].tolist():
            t = torch.full((2,), t)
            with torch.no_grad():
                for real in (mask, None):
                    guided = GuidedDenoiser(denoiser, hidden, real, table)
                    for text in (hidden, None):
                        torch.testing.assert_close(guided(z, t, conditional=text is not None),
                                                   denoiser(z, t, text, real), rtol=1e-5, atol=1e-5)
    quick, plain = GuidedDenoiser(denoiser, hidden, mask, table), GuidedDenoiser(denoiser, hidden, mask)
    t = torch.ones(2)
    assert count_work(lambda: quick(z, t))[0] < count_work(lambda: plain(z, t))[0]


def test_onnx_says_what_the_networks_say(tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the onnx extra, which the set-up leaves out")
    denoiser, autoencoder, diffusion = random_system("tiny")
    denoiser.null.data.normal_()
    paths = export_onnx(denoiser, autoencoder, tmp_path)
    for frames, guidance in ((2, 1.0), (33, 2.5), (90, 1.0)):  # none of them the length that was exported
        hidden, z_T, _ = random_inputs(denoiser, [frames])
        with torch.no_grad():
            guided = replace(diffusion, guidance=guidance)
            z = sample(GuidedDenoiser(denoiser, hidden), z_T, Schedule("flow"), guidance=guidance)
        torch.testing.assert_close(sample_onnx(paths, hidden, z_T, guided, threads=1), autoencoder.decode(z),
                                   rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_shipped_voice_speaks_through_onnx_as_it_does_here(tmp_path):
    """With the steps and the guidance of its preset: only rounding tells the two apart."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the onnx extra, which the set-up leaves out")
    voice, text = LatentSpeech.from_pretrained("base"), "今天天气很好。"
    here = voice.speak(text, seed=3)
    assert voice.preset.diffusion.guidance > 1
    out = voice.encode([voice.phones(text)], [0])
    z_T = draw_noise([3], out.frame_lengths.tolist(), out.prior.shape[1])
    paths = export_onnx(voice.denoiser, voice.autoencoder, tmp_path)
    there = sample_onnx(paths, out.hidden, z_T, voice.preset.diffusion, threads=1)[0, 0]
    torch.testing.assert_close(there, here.audio, rtol=0, atol=1e-3)
    plain = sample_onnx(paths, out.hidden, z_T, voice.diffusion(guidance=1.0), threads=1)[0, 0]
    assert (plain - here.audio).abs().max() > 0.02, "guidance is heard"


def test_onnx_missing_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("latentspeech.gpu_sampling.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"latentspeech\[onnx\]"):
        export_onnx(*random_system("tiny")[:2], tmp_path)


@pytest.mark.parametrize("bucket", (1, 16, 64))
def test_buckets_change_nothing(bucket):
    denoiser, autoencoder, diffusion = random_system("tiny")
    inputs = random_inputs(denoiser, [33, 5])
    usual = GraphSampler(denoiser, autoencoder, diffusion)(*inputs)
    torch.testing.assert_close(GraphSampler(denoiser, autoencoder, diffusion, bucket=bucket)(*inputs), usual,
                               rtol=0, atol=1e-5)
    assert bucket_frames(33, autoencoder.context, bucket) >= 33 + autoencoder.context


def test_half_precision_leaves_the_original_alone():
    denoiser, autoencoder, _ = random_system("tiny")
    before = {k: v.clone() for k, v in autoencoder.state_dict().items()}
    copy = low_precision(autoencoder, torch.bfloat16)
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in autoencoder.state_dict().items())
    assert copy.latent_mean.dtype == torch.float32
    assert {m.weight.dtype for m in copy.modules()
            if isinstance(m, (torch.nn.Conv1d, torch.nn.ConvTranspose1d))} == {torch.bfloat16}


def test_count_work():
    x = torch.randn(4, 4)
    assert count_work(lambda: x @ x) == (1, 64)
    assert count_work(lambda: x.clone().add_(1)) == (2, 128)
    assert count_work(lambda: x.T[None].expand(3, 4, 4)) == (0, 0)


def check(result):
    row, = result["rows"]
    assert row["text"] and row["audio_seconds_per_second"] > 0 and result["parity"]["same_bits"] and result["machine"]
    assert round(result["seconds"] * FRAME_RATE) == 47


def test_the_experiment_writes_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("latentspeech.gpu_sampling.variants", lambda device: [("tiny", {}, {}, [1], True)])
    gpu_sampling(device="cpu", seconds=1, repeats=1, out=str(tmp_path / "out.json"))
    result = json.loads((tmp_path / "out.json").read_text())
    check(result)
    assert result["command"] == "latentspeech experiment gpu-sampling --device cpu --seconds 1 --repeats 1"


# all that the model code needs of fastcore is `patch`
SCRIPT = """
import json, sys, types
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fastcore", "soundfile", "pypinyin", "espeakng_loader", "torchaudio", "matplotlib",
                                  "IPython"):
            raise ImportError(f"{name} is not on a bare GPU machine")
sys.meta_path.insert(0, Missing())
def patch(f=None, *, as_prop=False, cls_method=False):
    if f is None:
        return lambda f: patch(f, as_prop=as_prop, cls_method=cls_method)
    owner = eval(next(iter(f.__annotations__.values())), f.__globals__)
    setattr(owner, f.__name__, property(f) if as_prop else classmethod(f) if cls_method else f)
for name in ("fastcore", "fastcore.basics"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["fastcore.basics"].patch = patch
from latentspeech.gpu_sampling import benchmark
result = benchmark("cpu", 1, 1, "", [("tiny", {}, {}, [1], True)])
open(sys.argv[1], "w").write(json.dumps(result))
"""


def test_benchmark_needs_nothing_but_torch(tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "out.json")], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    check(json.loads((tmp_path / "out.json").read_text()))
