"""Wrong answers to the exercises of part 5: code, and the property that it fails in."""

WRONG = {
    "50.1": [("answer = 0.1", "unit"), ("answer = 0.434", "twice"), ("answer = 20 / math.log(10) * 0.1", "factor")],
    "50.2": [("def melody_distance(a, b):\n    both = (a > 0) & (b > 0)\n"
              "    return (12 * (a[both] / b[both]).log2()).square().mean().sqrt()", "height"),
             ("def melody_distance(a, b):\n    d = (a - b)[(a > 0) & (b > 0)]\n    return d.std(correction=0)", "unit"),
             ("def melody_distance(a, b):\n    d = 12 * (a / b).log2()\n"
              "    return (d - d.mean()).square().mean().sqrt()",
              "finite"),
             ("def melody_distance(a, b):\n    both = (a > 0) & (b > 0)\n    d = (a[both] / b[both]).log2()\n"
              "    return d.std(correction=0)", "octaves")],
    "50.3": [('answer = ["level", "MCD", "F0", "judge"]', "B"),
             ('answer = ["level", "length", "MCD", "judge"]', "C"),
             ('answer = ["level", "length", "F0", "F0"]', "D")],
    "51.1": [("def kinds(pairs):\n    d, i = (sum(p[k] is None for p in pairs) for k in (0, 1))\n"
              "    return [sum(r != h for r, h in pairs) - d - i, d, i]", "which side"),
             ("def kinds(pairs):\n    d, i = (sum(p[k] is None for p in pairs) for k in (1, 0))\n"
              "    return [sum(r != h for r, h in pairs), d, i]", "twice"),
             ("def kinds(pairs):\n    d, i = (sum(p[k] is None for p in pairs) for k in (1, 0))\n"
              "    return [len(pairs) - d - i, d, i]", "equal pairs")],
    "51.2": [("answer = 0.05", "left out"), ("answer = 0.05 * 970 / 1000", "silence"), ("answer = 0.08", "sum")],
    "51.3": [("answer = 12 * 6", "root"), ("answer = 12 * 6 ** 0.5", "square"), ("answer = 432 - 12", "in all")],
    "52.1": [("def apart(natural, tts, control): return natural[0] < tts[0] < control[0]", "overlap"),
             ("def apart(natural, tts, control): return natural[2] < tts[1]", "control"),
             ("def apart(natural, tts, control): return natural[1] > tts[2] and tts[1] > control[2]", "order")],
    "52.2": [('answer = ["control", "natural", "interval", "failed"]', "A"),
             ('answer = ["natural", "natural", "interval", "failed"]', "B"),
             ('answer = ["natural", "control", "interval", "interval"]', "D")],
    "52.3": [("answer = 2.2", "left out"), ("answer = (2 * 2.2 + 0) / 4", "scale"), ("answer = 2 * 2.2 + 2", "mean")],
    "53.1": [("def frames_needed(tokens): return len(tokens)", "repeats"),
             ("def frames_needed(tokens): return 2 * len(tokens) + 1", "blanks"),
             ("def frames_needed(tokens): return len(set(tokens))", "merged")],
    "53.2": [("answer = 3 ** 4", "all"), ("answer = 6", "blanks"), ("answer = 3", "no blanks")],
    "53.3": [("def true_rate(measured, zero, slope): return measured / slope", "zero"),
             ("def true_rate(measured, zero, slope): return measured - zero", "slope"),
             ("def true_rate(measured, zero, slope): return (measured - zero) * slope", "which way")],
    "54.1": [("def disputed(first, second): return [i for i, (a, b) in enumerate(zip(first, second)) if a != b]",
              "tones"),
             ("def disputed(first, second): return [a != b for a, b in zip(first, second)]", "places"),
             ("def disputed(first, second):\n    def bare(r): return [s[:-1] for s in r]\n"
              "    return [i for i, (a, b) in enumerate(zip(first, second)) if bare(a) == bare(b)]", "other way")],
    "54.2": [('answer = ["measurement", "nothing", "measurement"]', "A"),
             ('answer = ["bound", "bound", "measurement"]', "B"),
             ('answer = ["bound", "nothing", "bound"]', "C")],
    "54.3": [("answer = 3", "half"), ("answer = 5", "tie"), ("answer = 1", "mends")],
    "55.1": [("answer = 0.5", "balance"), ("answer = expected_preference(3.0, 3.3)", "which one"),
             ("answer = 0.618", "spread")],
    "55.2": [("def slips_through(n, least):\n    return math.comb(n, math.ceil(least * n - 1e-9)) / 2 ** n", "exactly"),
             ("def slips_through(n, least):\n"
              "    return sum(math.comb(n, k) for k in range(int(least * n), n + 1)) / 2 ** n", "rounding"),
             ("def slips_through(n, least):\n"
              "    return sum(math.comb(n, k) for k in range(n + 1) if k > least * n) / 2 ** n",
              "too strict")],
    "55.3": [("def variance(people, sentences, taste, sentence, mood):\n"
              "    return (taste ** 2 + sentence ** 2 + mood ** 2) / (people * sentences)", "one urn"),
             ("def variance(people, sentences, taste, sentence, mood):\n"
              "    return taste ** 2 / sentences + sentence ** 2 / people + mood ** 2 / (people * sentences)", "which"),
             ("def variance(people, sentences, taste, sentence, mood):\n"
              "    return taste / people + sentence / sentences + mood / (people * sentences)", "squares")],
    "56.1": [("def banker(text, places): return {place: 'hang2' for place in places}", "others"),
             ("def banker(text, places): return {0: 'hang2'}", "unasked"),
             ("def banker(text, places): return {place: 'xing2' for place in places if text[place] == '行'}",
              "reading")],
    "56.2": [("def choose(scores, mask): return scores.argmax(1)", "mask"),
             ("def choose(scores, mask): return (scores * mask).argmax(1)", "zero"),
             ("def choose(scores, mask): return scores.masked_fill(mask == 0, -99.0).max(1)[0]", "value")],
    "56.3": [("answer = 32", "ends"), ("answer = 64", "pinyin"), ("answer = 33", "ends")],
}
