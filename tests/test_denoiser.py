"The denoiser against explicit formulas, one-by-one runs and its promises."
import math

import pytest
import torch
from torch import nn
import torch.nn.functional as F

from latentspeech.config import DenoiserConfig, preset
from latentspeech.denoiser import Denoiser, DenoiserError, GatedLayer, time_features


def make(name="tiny", width=24, seed=0):
    torch.manual_seed(seed)
    denoiser = Denoiser(preset(name).denoiser, width).eval()
    nn.init.normal_(denoiser.leave[-1].weight)
    nn.init.normal_(denoiser.null)
    return denoiser


def inputs(n=3, frames=40, width=24):
    torch.manual_seed(1)
    return torch.randn(n, 16, frames), torch.rand(n), torch.randn(n, width, frames)


def test_time_features_by_formula():
    t, width = torch.tensor([0., .3, 1.]), 8
    out = time_features(t, width)
    for b, x in enumerate(t.tolist()):
        angles = [1000 * x * 10 ** (-4 * i / 3) for i in range(4)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        torch.testing.assert_close(out[b], torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_gated_layer_by_explicit_sums():
    layer, x, step, text = GatedLayer(4, 3, True), torch.randn(1, 4, 12), torch.randn(1, 4, 1), torch.randn(1, 8, 12)
    padded, w = F.pad(x + step, (3, 3)), layer.look.weight
    look = sum(torch.einsum("oi,bil->bol", w[..., k], padded[..., 3 * k:3 * k + 12])
               for k in range(3)) + layer.look.bias[:, None] + text
    out = torch.einsum("oi,bil->bol", layer.output.weight[..., 0],
                       look[:, :4].tanh() * look[:, 4:].sigmoid()) + layer.output.bias[:, None]
    new, skip = layer(x, step, text, torch.ones(1, 1, 1))
    torch.testing.assert_close(new, (x + out[:, :4]) / math.sqrt(2), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(skip, out[:, 4:], atol=1e-5, rtol=1e-4)
    plain = GatedLayer(4, 3, False)
    assert plain(x, step, text, torch.ones(1, 1, 1))[1] is None


def test_starts_at_zero():
    z, t, h = inputs()
    assert not Denoiser(preset("tiny").denoiser, 24)(z, t, h).any()


@pytest.mark.parametrize("name", ["tiny", "mini", "paper"])
def test_batch_equals_one_by_one_whatever_the_padding(name):
    denoiser, (z, t, h) = make(name), inputs()
    lengths = torch.tensor([40, 17, 5])
    mask = (torch.arange(40) < lengths[:, None]).float()[:, None]
    z, h = z + 9 * (1 - mask), h - 9 * (1 - mask)
    with torch.no_grad():
        out = denoiser(z, t, h, mask)
        for b, n in enumerate(lengths):
            one = denoiser(z[b:b + 1, :, :n], t[b:b + 1], h[b:b + 1, :, :n])
            torch.testing.assert_close(out[b, :, :n], one[0], atol=1e-4, rtol=1e-4)
            assert not out[b, :, n:].any()


@pytest.mark.parametrize("name", ["tiny", "paper"])
def test_prepared_keep_and_null_agree(name):
    denoiser, (z, t, h) = make(name), inputs()
    with torch.no_grad():
        full, bare = denoiser(z, t, h), denoiser(z, t)
        torch.testing.assert_close(denoiser(z, t, prepared=denoiser.prepare(h)), full)
        torch.testing.assert_close(denoiser(z, t, prepared=denoiser.prepare(None)), bare)
        torch.testing.assert_close(denoiser(z, t, h, keep=torch.zeros(3, dtype=torch.bool)), bare, atol=1e-5, rtol=1e-4)
        mixed = denoiser(z, t, h, keep=torch.tensor([True, False, True]))
        torch.testing.assert_close(mixed, torch.stack([full[0], bare[1], full[2]]), atol=1e-5, rtol=1e-4)
    assert (full - bare).abs().max() > .1


def test_noise_draws_side_by_side():
    denoiser, (z, t, h) = make(), inputs()
    draws, times = torch.randn(6, 16, 40), torch.rand(6)
    mask = (torch.arange(40) < torch.tensor([40, 20, 30])[:, None]).float()[:, None]
    with torch.no_grad():
        a = denoiser(draws, times, h, mask)
        b = denoiser(draws, times, h.repeat_interleave(2, 0), mask.repeat_interleave(2, 0))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    with pytest.raises(DenoiserError, match="multiple"):
        denoiser(draws[:5], times[:5], h)


def test_null_is_learned_only_from_dropped_examples():
    denoiser, (z, t, h) = make(), inputs()
    denoiser(z, t, h, keep=torch.ones(3, dtype=torch.bool)).sum().backward()
    assert not denoiser.null.grad.any()
    denoiser(z, t, h, keep=torch.tensor([True, False, True])).sum().backward()
    assert denoiser.null.grad.any() and all(p.grad is not None for p in denoiser.parameters())


def test_receptive_field():
    denoiser = make("mini", 24)
    z, t, h = inputs(1, 201)
    z.requires_grad_()
    denoiser(z, t, h)[0, :, 100].sum().backward()
    touched = z.grad.abs().sum((0, 1)).nonzero()[:, 0]
    c = preset("mini").denoiser
    reach = sum(2 ** (i % c.dilation_cycle) for i in range(c.layers))
    assert (touched.min(), touched.max()) == (100 - reach, 100 + reach)


def test_parameter_counts():

    def count(n):
        return sum(p.numel() for p in Denoiser(preset(n).denoiser, preset(n).encoder.width).parameters()) / 1e6

    assert abs(count("paper") - 16.7) < .05 and count("base") <= 8


def test_bfloat16_autocast_stays_close():
    denoiser, (z, t, h) = make("mini"), inputs()
    mask = torch.ones(3, 1, 40)
    with torch.no_grad():
        exact = denoiser(z, t, h, mask)
        with torch.autocast("cpu", torch.bfloat16):
            half = denoiser(z, t, h, mask)
    assert (half.float() - exact).norm() / exact.norm() < .05


def test_unknown_condition_is_refused():
    with pytest.raises(DenoiserError, match="hidden, bottleneck"):
        Denoiser(DenoiserConfig(condition="mel"), 24)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_cuda_graph_equals_eager():
    denoiser = make("mini").cuda()
    z, t, h = (x.cuda() for x in inputs())
    with torch.no_grad():
        prepared = denoiser.prepare(h)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            eager = denoiser(z, t, prepared=prepared).clone()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = denoiser(z, t, prepared=prepared)
        graph.replay()
        torch.cuda.synchronize()
    torch.testing.assert_close(out, eager, atol=1e-4, rtol=1e-3)
