"""Wrong answers to the exercises of part 1: code, and the property that it fails in."""

WRONG = {
    "10.1": [("def level_of_sum(a, b): return a + b", "logarithm"),
             ("import math\ndef level_of_sum(a, b): return 20 * math.log10(10 ** (a / 20) + 10 ** (b / 20))",
              "amplitude"),
             ("def level_of_sum(a, b): return max(a, b)", "louder")],
    "10.2": [("answer = 4700", "room"), ("answer = 4700 - 3000", "mirror"), ("answer = 4700 / 8", "pitch")],
    "10.3": [("def in_noise(sound, noise, ratio): return sound + noise * 10 ** (-ratio / 20)", "ratio"),
             ("def in_noise(sound, noise, ratio): return sound + match_level(noise, level(sound) + ratio)", "sign"),
             ("def in_noise(sound, noise, ratio): return match_level(sound, level(noise) + ratio) + noise", "sound")],
    "11.1": [("def frequency_inside(f): return f", "range"),
             ("def frequency_inside(f): return f % 1500", "mirror"),
             ("def frequency_inside(f): return 1500 - f % 1500", "even bands")],
    "11.2": [("def band_levels(b): return 10 * b.square().mean(-1).sqrt().log10()", "scale"),
             ("def band_levels(b): return 10 * b.square().sum(-1).log10()", "mean"),
             ("def band_levels(b): return 20 * b.square().mean(1).sqrt().log10()", "shape")],
    "11.3": [("answer = 12", "fold"),
             ("answer = 384", "count"),
             ("answer = (384 + 16 * 32) / (16 * 384)", "upside down")],
    "12.1": [("def frames_of(n): return n // 1024", "rounding"),
             ("def frames_of(n): return n // 1024 + 1", "exact"),
             ("def frames_of(n): return n / 1024", "whole")],
    "12.2": [("def whiten(z): return z / z.std((0, 2), keepdim=True)", "mean"),
             ("def whiten(z): return (z - z.mean((0, 2), keepdim=True)) / z.std()", "spread"),
             ("def whiten(z): return (z - z.mean(2, keepdim=True)) / z.std(2, keepdim=True)", "one map")],
    "12.3": [("answer = 28_125", "channels"),
             ("answer = 48_000 * 600", "frames"),
             ("answer = 80 * 28_125", "channels")],
    "13.1": [("answer = 1", "unit"), ("answer = 20", "base"), ("answer = 4.343", "power")],
    "13.2": [("def best_gain(made, want):\n"
              "    return (made * want).sum(-1, keepdim=True) / want.square().sum(-1, keepdim=True)",
              "which one"),
             ("def best_gain(made, want): return want.norm(dim=-1, keepdim=True) / made.norm(dim=-1, keepdim=True)",
              "sign"),
             ("def best_gain(made, want): return (made * want).sum() / made.square().sum()", "shape")],
    "13.3": [("answer = 512", "width"), ("answer = 1920", "power of two"), ("answer = 4096", "smallest")],
    "14.1": [("answer = 93.75", "channels"),
             ("answer = 32 * 48_000 / 1024", "frame"),
             ("answer = 32 * 48_000", "frames")],
    "14.2": [("def walk(a, b, t): return torch.lerp(a, b, t)", "norm"),
             ("def walk(a, b, t):\n    z = (1 - t) * a + t * b\n    return z * a.norm() / z.norm()", "speed"),
             ("def walk(a, b, t):\n    w = torch.acos((a * b).sum() / (a.norm() * b.norm()))\n"
              "    return (torch.sin(t * w) * a + torch.sin((1 - t) * w) * b) / torch.sin(w)", "order")],
    "14.3": [("answer = 2.047", "step"), ("answer = 6.024", "unit"), ("answer = -4.597", "sign")],
    "14.4": [("def downhill(z, far, steps, rate):\n    for _ in range(steps):\n"
              "        z = z.detach().requires_grad_()\n"
              "        z = (z - rate * torch.autograd.grad(far(z), z)[0]).detach()\n    return z", "best"),
             ("def downhill(z, far, steps, rate):\n    for _ in range(steps):\n"
              "        z = z.detach().requires_grad_()\n"
              "        z = (z + rate * torch.autograd.grad(far(z), z)[0]).detach()\n    return z", "sign"),
             ("def downhill(z, far, steps, rate):\n    best = z = z.clone().requires_grad_()\n"
              "    for _ in range(steps):\n        z = z - rate * torch.autograd.grad(far(z), z)[0]\n"
              "        best = min(best, z, key=far)\n    return best", "gradient")],
    "15.1": [("def fair_gain(a, b): return a.abs().max() / b.abs().max()", "peak"),
             ("def fair_gain(a, b): return a.square().mean() / b.square().mean()", "power"),
             ("def fair_gain(a, b): return b.norm() / a.norm()", "upside down")],
    "15.2": [("answer = 320 / 20 * 4", "fence posts"), ("answer = 17 + 4", "product"), ("answer = 17", "tone")],
    "15.3": [("import torch\ndef hiss(level, seed=0): return torch.randn(48_000) * 10 ** (level / 20)", "repeat"),
             ("import torch\ndef hiss(level, seed=0):\n    torch.manual_seed(seed)\n"
              "    return torch.randn(48_000) * 10 ** (level / 20)", "shared"),
             ("import torch\ndef hiss(level, seed=0):\n    g = torch.Generator().manual_seed(seed)\n"
              "    return torch.randn(48_000, generator=g) * 10 ** (level / 10)", "level")],
    "16.1": [("def say(answer): return 'right' if answer == 1024 / 48 else 'wrong'", "tolerance"),
             ("def say(answer): return 'right' if abs(answer - 21.333) < 0.1 else 'wrong'", "unit"),
             ("def say(answer): return 'right' if abs(answer - 21.333) < 0.1 else 'unit'", "wrong")],
    "16.2": [("answer = 0.8", "once"), ("answer = 1 - 0.8 ** 5", "which one"), ("answer = 0.2 ** 5", "which one")],
    "16.3": [("def cheat(n): return -(-n // 1024)", "honest"), ("def cheat(n): return n // 1024", "caught"),
             ("def cheat(n): return 47", "caught")]
}
