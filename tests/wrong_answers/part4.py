"""Wrong answers to the exercises of part 4: code, and the property that it fails in."""

WRONG = {
    "40.1": [("def order_at(seed, step, n): return torch.randperm(n)", "repeats"),
             ("def order_at(seed, step, n):\n    torch.manual_seed(seed + step)\n    return torch.randperm(n)",
              "leaves alone"),
             ("def order_at(seed, step, n):\n"
              "    return torch.randperm(n, generator=torch.Generator().manual_seed(seed + step))", "apart"),
             ("def order_at(seed, step, n): return torch.randperm(n, "
              "generator=torch.Generator().manual_seed(seed))", "step")],
    "40.2": [("answer = 1000", "a third"), ("answer = 500", "compound"), ("answer = 1386", "half")],
    "40.3": [("def whole_loss(losses, sizes): return losses.mean()", "share"),
             ("def whole_loss(losses, sizes): return (losses * sizes).sum()", "mean"),
             ("def whole_loss(losses, sizes): return (losses * sizes).mean()", "examples")],
    "41.1": [("def padding(lengths, size):\n    batches = [lengths[i:i + size] for i in range(0, len(lengths), size)]\n"
              "    return 1 - sum(lengths) / sum(max(b) * len(b) for b in batches)", "neighbours"),
             ("def padding(lengths, size):\n    rows = sorted(lengths)\n"
              "    batches = [rows[i:i + size] for i in range(0, len(rows), size)]\n"
              "    return sum(max(b) * len(b) for b in batches) / sum(rows) - 1", "share"),
             ("def padding(lengths, size): return 1 - sum(lengths) / (max(lengths) * len(lengths))", "each batch")],
    "41.2": [("def duel(decoder, critic, z, real):\n    fake = decoder(z)\n    critic.requires_grad_(True)\n"
              "    learn = (critic(real) - 1).square().mean() + critic(fake.detach()).square().mean()\n"
              "    critic.requires_grad_(False)\n    return learn + (critic(fake) - 1).square().mean()", "critic"),
             ("def duel(decoder, critic, z, real):\n    fake = decoder(z)\n    critic.requires_grad_(False)\n"
              "    convince = (critic(fake) - 1).square().mean()\n    critic.requires_grad_(True)\n"
              "    return convince + (critic(real) - 1).square().mean() + critic(fake).square().mean()", "paid"),
             ("def duel(decoder, critic, z, real):\n    fake = decoder(z)\n    return ((critic(fake) - "
              "1).square().mean()"
              " + (critic(real) - 1).square().mean()\n            + critic(fake.detach()).square().mean())",
              "held still"),
             ("def duel(decoder, critic, z, real):\n    fake = decoder(z).detach()\n"
              "    return (critic(real) - 1).square().mean() + critic(fake).square().mean()", "decoder")],
    "41.3": [("answer = 0.1", "by the second"), ("answer = 0.5", "by the voice"), ("answer = 0.75", "whose")],
    "42.1": [("def viterbi_at_least(scores, n): return viterbi(scores)", "duration"),
             ("def viterbi_at_least(scores, n): return np.linspace(0, scores.shape[1] - 0.01, "
              "len(scores)).astype(int)", "best"),
             ("def viterbi_at_least(scores, n): return viterbi(scores.repeat(n, axis=1))", "order")],
    "42.2": [("import math\ndef count_ways(n_frames, optional): return math.comb(n_frames - 1, len(optional) - 1)",
              "may be left out"),
             ("import math\ndef count_ways(n_frames, optional):\n"
              "    return math.comb(n_frames - 1, len(optional) - sum(optional) - 1)", "may stay"),
             ("def count_ways(n_frames, optional):\n"
              "    return forward_score(np.zeros((n_frames, len(optional))), optional)", "logarithm")],
    "42.3": [("answer = 256 / 48 / 2", "largest"), ("answer = 5.33", "hop"), ("answer = 256 / 48 / 8", "median")],
    "43.1": [("answer = 4", "chances"), ("answer = 8", "mean"), ("answer = 2", "chances")],
    "43.2": [("def straightness(walk): return ((walk[-1] - walk[0]).norm(dim=-1) / "
              "walk.diff(dim=0).norm(dim=-1).sum(0)).mean()",
              "points"),
             ("def straightness(walk): return walk.diff(dim=0).norm(dim=-1).sum(0) / (walk[-1] - walk[0]).norm(dim=-1)",
              "upside down"),
             ("def straightness(walk):\n"
              "    return (walk[-1] - walk[0]).abs().sum(-1) / walk.diff(dim=0).abs().sum(-1).sum(0)", "distance")],
    "43.3": [("answer = 200 * 64 * 11 / 8", "saved"), ("answer = 200 * 64 * 8 / 7", "lessons"),
             ("answer = 200 * 11 / 7", "pairs")],
    "44.1": [("def bias_and_spread(errors):\n"
              "    return torch.stack([errors.mean(), (errors - errors.mean()).abs().mean()])", "outliers"),
             ("def bias_and_spread(errors): return torch.stack([errors.median(), errors.abs().median()])", "bias"),
             ("def bias_and_spread(errors):\n    bias = errors.median()\n"
              "    return torch.stack([(errors - bias).abs().median(), bias])", "order")],
    "44.2": [("answer = 0.0603", "95 %"), ("answer = 0.2363", "half"), ("answer = 0.00712", "root")],
    "44.3": [("answer = (12 ** 2 - 8 ** 2) ** 0.5", "one person"), ("answer = 12 - 8", "variances"),
             ("answer = (12 ** 2 + 8 ** 2 / 2) ** 0.5", "below")],
    "45.1": [("def guarded(old, new, loss): return old + loss.isfinite()[:, None] * (new - old)", "poison"),
             ("def guarded(old, new, loss): return new if loss.isfinite().all() else old", "each run"),
             ("def guarded(old, new, loss): return torch.where(loss.isnan()[:, None], old, new)", "infinite"),
             ("def guarded(old, new, loss): return new if loss < math.inf else old", "runs")],
    "45.2": [("def kept(losses): return [i for i in range(1, len(losses)) if losses[i] < losses[i - 1]]", "first"),
             ("def kept(losses): return [i for i in range(len(losses)) if not i or losses[i] < losses[i - 1]]", "NaN"),
             ("def kept(losses):\n    best, places = losses[0], [0]\n    for i, loss in enumerate(losses):\n"
              "        if i and not loss >= best:\n            best = loss\n            places.append(i)\n    "
              "return places", "NaN"),
             ("def kept(losses):\n    best, places = math.inf, []\n    for i, loss in enumerate(losses):\n"
              "        if loss <= best:\n            best = loss\n            places.append(i)\n    return places",
              "equal")],
    "45.3": [("answer = (12 + 3) / 3.05", "at once"), ("answer = 12 / 0.05", "work"), ("answer = 1", "waits")],
    "46.1": [("def at_level_of(copy, true):\n"
              "    return copy / (10 * copy.square().mean(-1, keepdim=True).sqrt().clamp(min=0.01))", "original"),
             ("def at_level_of(copy, true): return 0.1 * copy / true.square().mean(-1, keepdim=True).sqrt()",
              "silence"),
             ("def at_level_of(copy, true): return 0.1 * copy / true.square().mean().sqrt().clamp(min=0.01)",
              "each row")],
    "46.2": [("answer = 1.2730", "truth"),
             ("answer = 0.8586", "nats"), ("answer = 0.6595", "both")],
    "46.3": [("def layer_distance(mine, true):\n    return (sum((m - t).abs().mean() for m, t in zip(mine, true))\n"
              "            / sum(t.abs().mean() for t in true))", "each layer"),
             ("def layer_distance(mine, true):\n"
              "    return sum((m - t).abs().mean() / m.abs().mean() for m, t in zip(mine, true)) / len(true)",
              "original"),
             ("def layer_distance(mine, true):\n"
              "    return sum((m - t).abs().mean() / t.abs().mean() for m, t in zip(mine, true))", "average")],
    "47.1": [("def falling(done, last): return last + (1 - last) * (1 - done)", "cosine"),
             ("import torch\ndef falling(done, last): return (1 + torch.cos(torch.pi * done)) / 2", "end"),
             ("import torch\ndef falling(done, last): return last + (1 - last) * (1 - torch.cos(torch.pi * done)) / 2",
              "falling"),
             ("import torch\ndef falling(done, last): return last + (1 - last) * (1 + torch.cos(2 * torch.pi * done)) "
              "/ 2", "half")],
    "47.2": [("answer = 20", "overshoot"), ("answer = 22.11 ** 0.5", "variance"), ("answer = 1 / 22.11", "falls")],
    "47.3": [("def again(stages, moved):\n    names = [name for name, _, _ in stages]\n"
              "    return names[names.index(moved):]", "more"),
             ("def again(stages, moved):\n    names = [name for name, _, _ in stages]\n    at = names.index(moved)\n"
              "    return names[at:] if stages[at][1] == 'autoencoder' else [moved]", "voice"),
             ("def again(stages, moved):\n    names = [name for name, _, _ in stages]\n    at = names.index(moved)\n"
              "    if stages[at][1] == 'voice':\n        return [moved]\n"
              "    return [moved] + [n for n, part, _ in stages[at + 1:] if part == 'autoencoder' or stages[at][2]]",
              "through"),
             ("def again(stages, moved): return [moved]", "stands on")],
}
