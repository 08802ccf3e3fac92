"""Wrong answers to the exercises of part 1: code, and the property that it fails in."""

WRONG = {
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
    "14.3": [("answer = 2.047", "step"), ("answer = 6.024", "unit"), ("answer = -4.597", "sign")]
}
