"""Wrong answers to the exercises of part 6: code, and the property that it fails in."""

WRONG = {
    "60.1": [('answer = ["think", "think", "read", "dream", "sound"]', "A"),
             ('answer = ["dream", "dream", "read", "dream", "sound"]', "B"),
             ('answer = ["dream", "think", "think", "dream", "sound"]', "C")],
    "60.2": [("def pace_for(syllables, seconds): return seconds / sum(s for _, s in syllables)", "upside down"),
             ("def pace_for(syllables, seconds): return len(syllables) / seconds", "count"),
             ("def pace_for(syllables, seconds):\n"
              "    return sum(s for _, s in syllables) / len(syllables) / seconds", "mean")],
    "60.3": [("def sung(syllables, now):\n"
              "    return next((i for i, (_, a, b) in enumerate(syllables) if a <= now <= b), -1)", "ends"),
             ("def sung(syllables, now): return sum(a <= now for _, a, _ in syllables) - 1", "pauses"),
             ("def sung(syllables, now):\n"
              "    return next((i for i, (_, a, b) in enumerate(syllables, 1) if a <= now < b), -1)", "counting")],
    "61.1": [("answer = [0.0, 1.0]", "mean"), ("answer = [0.4, 0.4]", "median"), ("answer = [1.0, 0.4]", "order")],
    "61.2": [("def one_round(magnitude, sound): return sound", "magnitude"),
             ("def one_round(magnitude, sound):\n    return torch.istft(magnitude + 0j, 512, 128, "
              "window=torch.hann_window(512), length=len(sound))", "phase"),
             ("def one_round(magnitude, sound):\n    w = torch.hann_window(512)\n"
              "    s = torch.stft(sound, 512, 128, window=w, return_complex=True)\n"
              "    return torch.istft(s * magnitude, 512, 128, window=w, length=len(sound))", "twice")],
    "61.3": [('answer = ["sentences", "budget", "durations", "decoder"]', "A"),
             ('answer = ["decoder", "durations", "budget", "sentences"]', "B"),
             ('answer = ["decoder", "budget", "durations", "budget"]', "D")],
    "62.1": [('answer = ["denoiser", "decoder", "judge", "denoiser", "judge"]', "A"),
             ('answer = ["durations", "denoiser", "judge", "denoiser", "judge"]', "B"),
             ('answer = ["durations", "decoder", "decoder", "denoiser", "judge"]', "C")],
    "62.2": [("def enough(rows): return min(rows, key=lambda r: r[1])[0]", "luck"),
             ("def enough(rows): return rows[-1][0]", "most"),
             ("def enough(rows): return next(n for n, v, low, high in rows if v <= rows[-1][1])", "luck"),
             ("def enough(rows): return next(n for n, v, low, high in rows if low <= rows[-1][3] + 0.04)", "overlap")],
    "62.3": [("answer = 1 - 0.2 - 0.1", "twice"), ("answer = 1 - 0.8 * 0.9", "other way"), ("answer = 0.8", "tones")],
    "63.1": [('answer = "ABABABAB"', "drift"), ('answer = "AABB"', "drift"), ('answer = "ABA"', "count")],
    "63.2": [("def silence(pieces):\n    gaps, ends = 0.0, 0.0\n    for ready, lasts in pieces:\n"
              "        gaps += max(0.0, ready - ends)\n        ends = max(ready, ends) + lasts\n    return gaps",
              "first"),
             ("def silence(pieces):\n    gaps, ends = 0.0, pieces[0][0]\n    for ready, lasts in pieces:\n"
              "        gaps += max(0.0, ready - ends)\n        ends += lasts\n    return gaps", "shift"),
             ("def silence(pieces):\n    gaps, ends = 0.0, pieces[0][0]\n    for ready, lasts in pieces:\n"
              "        gaps += ready - ends\n        ends = max(ready, ends) + lasts\n    return gaps", "early")],
    "63.3": [("answer = 0.20 / 4", "rest"), ("answer = 0.20 - 2 * 0.015", "which"), ("answer = 2 * 0.015", "all")],
    "64.1": [('def check_memory(gigabytes): return Finding("memory", "ok" if gigabytes >= 1 else "broken", '
              'f"{gigabytes} GB", "buy more")', "status"),
             ('def check_memory(gigabytes): return Finding("memory", "ok" if gigabytes >= 1 else "low", '
              'f"{gigabytes} GB")', "cure"),
             ('def check_memory(gigabytes): return gigabytes >= 1', "finding")],
    "64.2": [('def exit_code(findings): return int(any(f.status != "ok" for f in findings))', "optional"),
             ("def exit_code(findings): return 0", "broken"),
             ('def exit_code(findings): return all(f.status != "broken" for f in findings)', "optional")],
    "64.3": [("def lacking(lines, installed): return [n for n in lines if n not in installed]", "version"),
             ('def lacking(lines, installed):\n    names = [re.match(r"[\\w.-]+", line)[0] for line in lines]\n'
              "    return [n for n in names if n not in installed]", "form"),
             ('def lacking(lines, installed):\n    names = [re.match(r"[\\w.-]+", l)[0].lower().replace("_", "-") '
              "for l in lines]\n    return [n for n in installed if n not in names]", "other way")],
    "65.1": [("def exit_code(error): return 2 if error else 0", "interrupt"),
             ("def exit_code(error):\n    return 0 if error is None else 130 if isinstance(error, KeyboardInterrupt) "
              "else 2", "bug"),
             ("def exit_code(error): return int(error is not None)", "input")],
    "65.2": [("answer = 60 * 48_000 / 1e6", "bytes"), ("answer = 60 * 48_000 * 16 / 1e6", "bits"),
             ("answer = 60 * 48_000 * 4 / 1e6", "float")],
    "65.3": [('answer = ["stdout", "stdout", "stderr", "stderr", "stdout"]', "B"),
             ('answer = ["stdout", "stderr", "stderr", "stdout", "stdout"]', "D"),
             ('answer = ["stdout", "stderr", "stderr", "stderr", "stderr"]', "E")],
    "66.1": [("def longer(plan, syllable, factor): return plan.edit(syllable % 4, stretch=factor)", "counting"),
             ("def longer(plan, syllable, factor): return plan.edit(syllable - 1, stretch=1 / factor)", "upside down"),
             ("def longer(plan, syllable, factor):\n    for k in range(4):\n"
              "        plan = plan.edit(k, stretch=factor)\n    return plan", "all")],
    "66.2": [("answer = 3", "adding"), ("answer = 6", "expected"), ("answer = 2", "orders")],
    "66.3": [("def equal_level(s): return s * s.abs().amax(1, keepdim=True)[:1] / s.abs().amax(1, keepdim=True)",
              "peak"),
             ("def equal_level(s):\n    p = s.square().mean(1, keepdim=True)\n    return s * p[:1] / p", "power"),
             ("def equal_level(s): return s / s.square().mean(1, keepdim=True).sqrt()", "first")],
    "67.1": [("def most_urgent(some): return min(range(len(some)), key=lambda k: some[k][0])", "coming"),
             ("def most_urgent(some): return min(range(len(some)), key=lambda k: some[k][1])", "least sent"),
             ("def most_urgent(some): return min(range(len(some)), key=lambda k: sum(some[k]))", "beginnings"),
             ("def most_urgent(some): return max(range(len(some)), key=lambda k: sum(some[k]))", "latest")],
    "67.2": [("answer = 0.5 / 0.1", "places"), ("answer = 2 * 1 / 0.1", "seconds"),
             ("answer = 2 * 0.1 / 0.5", "which way")],
    "67.3": [('answer = [400, 400, 503, 403, "none"]', "A"), ('answer = [413, 400, 429, 403, "none"]', "C"),
             ("answer = [413, 400, 503, 403, 503]", "E")]
}
