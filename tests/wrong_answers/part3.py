"""Wrong answers to the exercises of part 3: code, and the property that it fails in."""

WRONG = {
    "30.1": [("def half_time(schedule): return 0.5", "schedule"),
             ("def half_time(schedule):\n    low, high = 0., 1.\n    for _ in range(30):\n        "
              "m = (low + high) / 2\n"
              "        low, high = (m, high) if schedule.log_snr(torch.tensor(m)) < 0 else (low, m)\n    return low",
              "direction"),
             ("def half_time(schedule): return float(schedule.log_snr(torch.tensor(0.1)))", "range")],
    "30.2": [("answer = 6.99", "power"), ("answer = -13.98", "sign"), ("answer = 5", "unit")],
    "30.3": [("def clock(t, f): return torch.cat([(t[:, None] * f).sin(), (t[:, None] * f).cos()], 1)",
              "turns"),
             ("def clock(t, f):\n    a = 2 * math.pi * t[:, None] * f\n    return torch.cat([a.cos(), a.sin()], 1)",
              "sines first"),
             ("def clock(t, f):\n    a = 2 * math.pi * t[:, None] * f\n    return torch.stack([a.sin(), a.cos()])",
              "shape")],
    "31.1": [("answer = 4", "reach"), ("answer = 6", "smallest"), ("answer = 4.7", "whole")],
    "31.2": [("def guided(given, free, scale): return given + scale * (free - given)", "swapped"),
             ("def guided(given, free, scale): return given + scale * (given - free)", "start"),
             ("def guided(given, free, scale): return free + scale * given", "difference")],
    "31.3": [("answer = 31", "one side"), ("answer = 60", "itself"), ("answer = 1 + 2 * (2 ** 8 - 1)", "cycle")],
    "32.1": [("def ddim_from_noise(z, n, here, there): return there[0] * (z - here[1] * n) + there[1] * n", "divide"),
             ("def ddim_from_noise(z, n, here, there): return here[0] * (z - there[1] * n) / there[0] + here[1] * n",
              "levels"),
             ("def ddim_from_noise(z, n, here, there): return there[0] * (z - here[1] * n) / here[0]", "noise")],
    "32.2": [("answer = 32", "last step"), ("answer = 15", "guidance"), ("answer = 16", "guidance")],
    "32.3": [("answer = (0, 1)", "mean"),
             ("answer = (0.5, 1 / 12)", "square root"),
             ("answer = (0.5, 0.5)", "deviation")],
    "33.1": [("answer = 8", "first"), ("answer = 1", "steps"), ("answer = 16", "one")],
    "33.2": [("answer = 100 * 64 / 288", "half"), ("answer = 50", "of what"), ("answer = 32 / 288", "unit")],
    "33.3": [("def real_time_factor(seconds, frames): return seconds / frames", "frames"),
             ("def real_time_factor(seconds, frames): return seconds * 48_000 / (frames * 256)", "hop"),
             ("def real_time_factor(seconds, frames): return frames * 1024 / 48_000 / seconds", "upside down")]
}
