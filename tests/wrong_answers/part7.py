"""Wrong answers to the exercises of part 7: code, and the property that it fails in."""

WRONG = {
    "69.1": [("def buried(s, n, d): return s + n / 10 ** (d / 20)", "level"),
             ("def buried(s, n, d): return s + n * (s.norm() / n.norm()) / 10 ** (d / 10)", "power"),
             ("def buried(s, n, d): return s + n * (s.norm() / n.norm()) * 10 ** (d / 20)", "direction")],
    "69.2": [("def rate_of(r):\n"
              "    e, t = (list(map(float, r[k].split())) for k in ('errors', 'totals'))\n"
              "    return sum(a / b for a, b in zip(e, t)) / len(e)", "weight"),
             ("def rate_of(r):\n"
              "    e = list(map(float, r['errors'].split()))\n"
              "    return sum(e) / len(e)", "totals"),
             ("def rate_of(r):\n"
              "    e, t = (sum(map(float, r[k].split())) for k in ('errors', 'totals'))\n"
              "    return 100 * e / t", "percent")],
    "69.3": [("answer = ['natural', 'control: tones flattened', 'control: another text']", "leak"),
             ("answer = ['control: another text', 'control: another text', 'natural']", "melody"),
             ("answer = ['control: another text', 'control: tones flattened', 'control: 0 dB noise']", "noise")],
    "70.1": [("def coarse(z, bits):\n"
              "    step = 6 / 2 ** bits\n"
              "    return ((z.clamp(-3, 3) + 3) / step).round() * step - 3", "levels"),
             ("def coarse(z, bits):\n"
              "    step = 6 / (2 ** bits - 1)\n"
              "    return ((z + 3) / step).round() * step - 3", "ends"),
             ("def coarse(z, bits):\n"
              "    step = 6 / (2 ** bits - 1)\n"
              "    return ((z.clamp(-3, 3) + 3) // step) * step - 3", "nearest")],
    "70.2": [("answer = 306 * 32 / (1575 * 8)", "length"),
             ("answer = 306 / 1575", "crops"),
             ("answer = 1575 * 8 * 0.34 / (306 * 32 * 0.68)", "upside down")],
    "70.3": [("answer = [True, False, False, False]", "holds"),
             ("answer = [True, True, True, False]", "cause"),
             ("answer = [True, True, False, True]", "at once")],
    "71.1": [("answer = 0.6 ** 2", "two"),
             ("answer = 0.6", "square"),
             ("answer = 1 - 0.6 ** 2 / 2", "rest")],
    "71.2": [("def redrawn(a, b, totals, picks): return ((a - b) / totals)[picks].mean(1)", "weight"),
             ("def redrawn(a, b, totals, picks): return (a[picks] - b[picks]).sum(1) / totals.sum()", "totals"),
             ("def redrawn(a, b, totals, picks): return (b[picks] - a[picks]).sum(1) / totals[picks].sum(1)", "order")],
    "71.3": [("def most_steps(calls, sampler, guided): return calls if sampler == 'ddim' else (calls "
              "+ 1) // 2", "guidance"),
             ("def most_steps(calls, sampler, guided):\n"
              "    looks = calls // 2 if guided else calls\n"
              "    return looks if sampler == 'ddim' else looks // 2", "last step"),
             ("def most_steps(calls, sampler, guided): return calls // 2 if guided else calls", "sampler")],
    "72.1": [("answer = 450", "square"),
             ("answer = 150 / 9", "direction"),
             ("answer = 150 * 6", "ratio")],
    "72.2": [("answer = 'another text'", "insertions"),
             ("answer = 'natural'", "few"),
             ("answer = 'voice A'", "width")],
    "72.3": [("def foretold(sizes, errors, size):\n"
              "    a, b = __import__('numpy').polyfit(sizes, __import__('numpy').log(errors), 1)\n"
              "    return __import__('numpy').exp(a * size + b)", "sizes"),
             ("def foretold(sizes, errors, size):\n"
              "    a, b = __import__('numpy').polyfit(__import__('numpy').log(sizes), errors, 1)\n"
              "    return a * __import__('numpy').log(size) + b", "errors"),
             ("def foretold(sizes, errors, size):\n"
              "    a, b = __import__('numpy').polyfit(__import__('numpy').log(sizes), "
              "__import__('numpy').log(errors), 1)\n"
              "    return a * __import__('numpy').log(size) + b", "back")],
    "73.1": [("answer = 16 * 0.05", "expected"),
             ("answer = 0.95 ** 16", "none"),
             ("answer = 0.05", "one row")],
    "73.2": [("def interaction(full, a, b, both): return both - a - b", "full"),
             ("def interaction(full, a, b, both): return both - full", "both"),
             ("def interaction(full, a, b, both): return (both / full) / ((a / full) * (b / full))", "ratio")],
    "73.3": [("answer = ['SER', 'spread', 'SER']", "tones"),
             ("answer = ['tone error', 'SER', 'SER']", "words"),
             ("answer = ['tone error', 'spread', 'tone error']", "syllables")],
    "74.1": [("answer = 4", "fixed part"),
             ("answer = 200 / 440", "upside down"),
             ("answer = 440 / (440 - 3 * 40)", "steps")],
    "74.2": [("answer = 80 * 187.5 / (16 * 93.75)", "numbers"),
             ("answer = 80 / 16", "rows"),
             ("answer = 0.5", "upside down")],
    "74.3": [("def ratio(a, b): return a.mean() / b.mean()", "mean"),
             ("def ratio(a, b): return (a / b).mean()", "outlier"),
             ("def ratio(a, b): return a.median() / b.median()", "pairs")],
    "75.1": [("def given_away(blind, told, untold): return (untold - told) / (blind - told)", "lost"),
             ("def given_away(blind, told, untold): return (blind - untold) / blind", "end"),
             ("def given_away(blind, told, untold): return told / untold", "beginning")],
    "75.2": [("answer = 0.3 + 0.1", "rest"),
             ("answer = 0.7 * 0.1", "recited"),
             ("answer = 0.3", "read")],
    "75.3": [("answer = ['the judge is deaf', 'it reads', 'the judge is deaf']", "recites"),
             ("answer = ['it recites', 'it recites', 'the judge is deaf']", "reads"),
             ("answer = ['it recites', 'it reads', 'it reads']", "judge")],
    "76.1": [("answer = ['folded', 'folded', 'not found']", "line"),
             ("answer = ['open', 'open', 'not found']", "network"),
             ("answer = ['open', 'folded', 'not there']", "bound")],
    "76.2": [("def kept_share(x, n):\n"
              "    s = torch.linalg.svdvals(x - x.mean(1, keepdim=True))\n"
              "    return s[:n].sum() / s.sum()", "square"),
             ("def kept_share(x, n):\n"
              "    v = torch.linalg.eigvalsh(torch.cov(x))\n"
              "    return v[:n].sum() / v.sum()", "largest"),
             ("def kept_share(x, n):\n"
              "    s = torch.linalg.svdvals(x) ** 2\n"
              "    return s[:n].sum() / s.sum()", "mean")],
    "76.3": [("answer = 19 / 22", "rest"),
             ("answer = 10 / 29", "handicap"),
             ("answer = 3", "share")],
    "77.1": [("answer = 400 / 60", "whole"),
             ("answer = 7", "rounding"),
             ("answer = 5", "turn")],
    "77.2": [("def cushion(ready, lasts): return (ready - ready[0] - lasts.cumsum(0)).max().clamp(min=0)", "before"),
             ("def cushion(ready, lasts): return (ready - lasts.cumsum(0) + lasts).max()", "start"),
             ("def cushion(ready, lasts): return (ready[-1] - ready[0] - lasts[:-1].sum()).clamp(min=0)", "worst")],
    "77.3": [("answer = 0.25 / 5", "batch"),
             ("answer = 0.25 / 5 / 8", "own work"),
             ("answer = 1.3 / 5", "sound")],
    "78.1": [("answer = 0.9 - 0.77", "scale"),
             ("answer = 0.77", "chance"),
             ("answer = (0.9 - 0.76) / (1 - 0.76)", "both wrong")],
    "78.2": [("def true_errors(measured, own, slope): return measured / slope", "own errors"),
             ("def true_errors(measured, own, slope): return measured / slope - own", "order"),
             ("def true_errors(measured, own, slope): return (measured - own) / slope", "zero")],
    "78.3": [("answer = ['the recipe', 'the recipe', 'the training speech']", "seed"),
             ("answer = ['luck of the draw', 'the training speech', 'the training speech']", "recipe"),
             ("answer = ['luck of the draw', 'the recipe', 'the recipe']", "recordings")],
    "79.1": [("def sign_test(a, b):\n"
              "    from math import comb\n"
              "    k = max(int((a < b).sum()), int((a > b).sum()))\n"
              "    n = len(a)\n"
              "    return min(1.0, 2 * sum(comb(n, j) for j in range(k, n + 1)) / 2 ** n)", "ties"),
             ("def sign_test(a, b):\n"
              "    from math import comb\n"
              "    w, l = int((a < b).sum()), int((a > b).sum())\n"
              "    n, k = w + l, max(w, l)\n"
              "    return sum(comb(n, j) for j in range(k, n + 1)) / 2 ** n", "sides"),
             ("def sign_test(a, b):\n"
              "    from math import comb\n"
              "    w, l = int((a < b).sum()), int((a > b).sum())\n"
              "    return 2 * comb(w + l, w) / 2 ** (w + l)", "tail")],
    "79.2": [("answer = 26.2 - 25", "points"),
             ("answer = 26.2 * 0.25", "rest"),
             ("answer = 26.2 * 1.25", "sign")],
    "79.3": [("answer = ['holds', 'holds', 'fails', 'undecided']", "pairs"),
             ("answer = ['holds', 'undecided', 'undecided', 'undecided']", "side"),
             ("answer = ['holds', 'undecided', 'fails', 'holds']", "order")],
}
