"The TTS encoder against PyTorch's own layers, loops and one-by-one runs."
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from latentspeech.config import EncoderConfig, preset
from latentspeech import encoder as lesson
from latentspeech.encoder import (Attention, Block, EncoderError, Fusion, TextEncoder, duration_loss, frame_index,
                                  frame_position, length_regulate, masked_mean, prior_loss, rotary,
                                  round_durations, sequence_mask, sinusoidal_positions)


def make(name="tiny", **kwargs):
    torch.manual_seed(0)
    return TextEncoder(preset(name).encoder, 30, n_speakers=3, **kwargs).eval()


def batch():
    torch.manual_seed(1)
    return (
        torch.randint(1, 30, (4, 12)),
        torch.randint(0, 6, (4, 12)),
        torch.tensor([0, 1, 2, 1]),
        torch.tensor([5, 12, 1, 9]),
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), min_size=5, max_size=5).filter(any), min_size=1, max_size=4))
def test_length_regulate_equals_repeat_interleave(rows):
    durations, hidden = torch.tensor(rows), torch.randn(len(rows), 3, 5)
    out = length_regulate(hidden, durations)
    for row, h, o in zip(durations, hidden, out):
        assert torch.equal(o[:, :row.sum()], h.repeat_interleave(row, dim=1))


def test_length_regulate_passes_gradients_and_fixes_length():
    hidden = torch.randn(1, 2, 3, requires_grad=True)
    length_regulate(hidden, torch.tensor([[2, 0, 3]]), n_frames=5).sum().backward()
    assert hidden.grad[0, 0].tolist() == [2, 0, 3]
    assert length_regulate(hidden, torch.tensor([[2, 1, 3]]), n_frames=4).shape[2] == 4


def test_frame_position_by_loop():
    durations = torch.tensor([[3, 1, 4]])
    places = frame_position(durations, frame_index(durations))[0]
    expected = [((k + .5) / d, k + .5, d - k - .5, d) for d in (3, 1, 4) for k in range(d)]
    torch.testing.assert_close(places, torch.tensor([[a, *torch.tensor([b, c, d]).log1p()] for a, b, c, d in expected]))


def test_rotary_keeps_length_and_depends_on_distance():
    x = torch.randn(1, 1, 8).expand(1, 20, 8)
    y = rotary(x)
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))
    products = y[0] @ y[0].T
    for k in range(5):
        torch.testing.assert_close(products.diagonal(k), products[0, k].expand(20 - k), atol=1e-4, rtol=1e-4)


def test_attention_equals_pytorch_multihead():
    ours, theirs = Attention(16, 4, relative=False).eval(), nn.MultiheadAttention(16, 4, batch_first=True).eval()
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.project.weight.data, ours.project.bias.data
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    x, mask = torch.randn(2, 7, 16), sequence_mask(torch.tensor([7, 4]))
    torch.testing.assert_close(ours(x, mask)[mask], theirs(x, x, x, key_padding_mask=~mask)[0][mask], atol=1e-5,
                               rtol=1e-4)


def test_paper_block_equals_pytorch_transformer_layer_with_kernel_1():
    config = EncoderConfig(kind="paper", width=16, heads=2, kernel=1, expansion=4, dropout=0.)
    ours, theirs = Block(config).eval(), nn.TransformerEncoderLayer(16, 2, 64, 0., batch_first=True).eval()
    theirs.self_attn.in_proj_weight.data = ours.attention.project.weight.data
    theirs.self_attn.in_proj_bias.data = ours.attention.project.bias.data
    theirs.self_attn.out_proj.load_state_dict(ours.attention.output.state_dict())
    for linear, conv in ((theirs.linear1, ours.feed_forward.layers[0]), (theirs.linear2, ours.feed_forward.layers[2])):
        linear.weight.data, linear.bias.data = conv.weight.data[..., 0], conv.bias.data
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(ours(x, torch.ones(2, 5, dtype=torch.bool)), theirs(x), atol=1e-5, rtol=1e-4)


def test_sinusoids_are_bounded_and_distinct():
    p = sinusoidal_positions(200, 32)
    assert p.abs().max() <= 1 and torch.cdist(p, p).add(torch.eye(200) * 9).min() > .1


@pytest.mark.parametrize("name", ["tiny", "mini", "paper"])
def test_batch_equals_one_by_one(name):
    encoder, (symbols, tones, speakers, lengths) = make(name), batch()
    with torch.no_grad():
        out = encoder(symbols, tones, speakers, lengths)
        for b, n in enumerate(lengths):
            one = encoder(symbols[b:b + 1, :n], tones[b:b + 1, :n], speakers[b:b + 1])
            frames = one.hidden.shape[2]
            assert frames == out.frame_lengths[b] == out.durations[b].sum() == out.frame_mask[b].sum()
            torch.testing.assert_close(out.hidden[b, :, :frames], one.hidden[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(out.prior[b, :, :frames], one.prior[0], atol=1e-5, rtol=1e-4)
            assert not out.hidden[b, :, frames:].any() and not out.prior[b, :, frames:].any()


def test_padding_content_is_ignored():
    encoder, (symbols, tones, speakers, lengths) = make(), batch()
    other = torch.where(sequence_mask(lengths), symbols, 7)
    a, b = (encoder(s, tones, speakers, lengths) for s in (symbols, other))
    torch.testing.assert_close(a.hidden, b.hidden, atol=1e-5, rtol=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1., 12.), min_size=1, max_size=30), st.floats(.5, 2.))
def test_rounded_durations_keep_the_total(frames, pace):
    wanted = torch.tensor([frames])
    rounded = round_durations(wanted.log1p(), torch.ones_like(wanted, dtype=torch.bool), pace)
    assert rounded.min() >= 1
    if min(frames) / pace >= 1.5:
        assert abs(rounded.sum() - wanted.sum() / pace) <= 1


def test_pace_may_differ_by_phone():
    encoder, (symbols, tones, speakers, lengths) = make(), batch()
    pace = torch.ones(4, 12)
    pace[:, 3] = .1
    encoder.duration.output.bias.data.fill_(1.)
    usual, slow = encoder(symbols, tones, speakers, lengths), encoder(symbols, tones, speakers, lengths, pace=pace)
    assert slow.durations[1, 3] > 5 * usual.durations[1, 3] and (slow.durations[1, :3] == usual.durations[1, :3]).all()


def test_fixed_length_matches_and_cuts():
    encoder, (symbols, tones, speakers, lengths) = make(), batch()
    durations = torch.randint(1, 5, (4, 12))
    free, fixed, cut = (encoder(symbols, tones, speakers, lengths, durations, n_frames=n) for n in (None, 80, 10))
    torch.testing.assert_close(fixed.hidden[..., :free.hidden.shape[2]], free.hidden, atol=1e-5, rtol=1e-4)
    assert cut.hidden.shape[2] == 10 and cut.frame_lengths.max() == 10


def test_all_parameters_learn_and_base_stops_the_duration_gradient():
    for name, reaches in (("tiny", False), ("paper", True)):
        encoder, (symbols, tones, speakers, lengths) = make(name), batch()
        out = encoder(symbols, tones, speakers, lengths, torch.randint(1, 5, (4, 12)))
        duration_loss(out.log_durations, out.durations).backward(retain_graph=True)
        assert (encoder.symbol.weight.grad is not None) == reaches
        prior_loss(out.prior, torch.randn_like(out.prior), out.frame_mask).backward()
        assert all(p.grad is not None for p in encoder.parameters())


def test_losses_against_plain_formulas():
    log_durations, durations = torch.randn(2, 5), torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])
    plain = [torch.stack([(log_durations[i, j] - torch.log(durations[i, j] + 1.)) ** 2 for j in range(n)]).mean()
             for i, n in enumerate((3, 5))]
    torch.testing.assert_close(duration_loss(log_durations, durations), torch.stack(plain).mean())
    prior, z = torch.randn(2, 2, 16, 6)
    mask = torch.tensor([[1.] * 6, [1.] * 2 + [0.] * 4])[:, None]
    plain = [(prior - z)[0].square().mean(), (prior - z)[1, :, :2].square().mean()]
    torch.testing.assert_close(prior_loss(prior, z, mask), torch.stack(plain).mean())
    torch.testing.assert_close(masked_mean((prior - z).square(), mask), prior_loss(prior, z, mask))
    torch.testing.assert_close(masked_mean(prior), prior.mean())


def test_what_the_lessons_define_is_what_trains(monkeypatch):
    """The voice's task calls the lessons' losses, the encoder its length regulator: change them; training notices."""
    from latentspeech import tasks
    from latentspeech.training import step_generator
    p = preset("tiny")
    example = dict(symbols=torch.tensor([1, 2, 3]), tones=torch.tensor([0, 1, 0]), durations=torch.tensor([2, 3, 2]),
                   speaker=torch.tensor(0), z=torch.randn(16, 7))
    torch.manual_seed(0)
    task = tasks.VoiceTask(p, [example, example], 1).eval()
    b = task.batch(step_generator(0, 0), 2)
    before = task(b)[1]
    out = task.encoder(b["symbols"], b["tones"], b["speakers"], b["lengths"], b["durations"])
    torch.testing.assert_close(before["duration"], duration_loss(out.log_durations, b["durations"]))
    torch.testing.assert_close(before["prior"], prior_loss(out.prior, b["z"], out.frame_mask))
    for name in ("duration_loss", "prior_loss", "diffusion_error"):
        with monkeypatch.context() as m:
            m.setattr(tasks, name, lambda *args: torch.tensor(7.0))
            assert task(b)[1][name.split("_")[0]] == 7
    with monkeypatch.context() as m:
        m.setattr(lesson, "length_regulate", lambda hidden, *args: 0 * length_regulate(hidden, *args))
        assert (task(b)[1]["prior"] - before["prior"]).abs() > 1e-6


def test_low_rank_fusion_has_its_rank():
    assert sum(p.numel() for p in Fusion(256, 16).low.parameters()) == 2 * 256 * 16
    assert not list(Fusion(256).parameters())


def test_errors_are_typed():
    encoder, (symbols, tones, speakers, lengths) = make(), batch()
    with pytest.raises(EncoderError, match="kind"):
        TextEncoder(EncoderConfig(kind="big"), 30)
    with pytest.raises(EncoderError, match="multiple"):
        Attention(30, 4)
    with pytest.raises(EncoderError, match="must match"):
        encoder(symbols, tones, speakers, lengths, torch.ones(4, 3, dtype=torch.long))
    with pytest.raises(EncoderError, match="N > 0"):
        encoder(symbols[:, :0], tones[:, :0])
    with pytest.raises(EncoderError, match="both"):
        encoder(symbols, tones[:, :3])


def test_runs_under_bfloat16_autocast():
    encoder, (symbols, tones, speakers, lengths) = make("mini"), batch()
    durations = torch.randint(1, 5, (4, 12))
    with torch.no_grad():
        exact = encoder(symbols, tones, speakers, lengths, durations).hidden
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder(symbols, tones, speakers, lengths, durations).hidden
    assert (half.float() - exact).abs().mean() < .05


def test_budget():
    sizes = {n: sum(p.numel() for p in TextEncoder(preset(n).encoder, 104).parameters()) / 1e6
             for n in ("base", "paper")}
    assert sizes["base"] <= 5 and 58 < sizes["paper"] < 63


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_cuda_graph_with_known_durations():
    encoder = make("mini").cuda()
    symbols, tones, speakers, lengths = (x.cuda() for x in batch())
    durations = torch.randint(1, 5, (4, 12)).cuda()
    with torch.no_grad():
        def run():
            return encoder(symbols, tones, speakers, lengths, durations, n_frames=64).hidden
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            eager = run().clone()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = run()
        graph.replay()
        torch.cuda.synchronize()
    torch.testing.assert_close(out, eager, atol=1e-4, rtol=1e-3)
