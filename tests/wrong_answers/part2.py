"""Wrong answers to the exercises of part 2: code, and the property that it fails in."""

WRONG = {
    "20.1": [('answer = "二万零五百"', "two"), ('answer = "两万五百"', "zero"), ('answer = "两万0五百"', "digits")],
    "20.2": [('def thousands(text): return text.replace("K", "千")', "neighbours"),
             ('import re\ndef thousands(text): return re.sub(r"(\\d+)[kK](?![A-Za-z])", lambda m: m[1] + "千", text)',
              "left over"),
             ('import re\ndef thousands(text): return re.sub(r"(\\d+)[kK](?![A-Za-z])", '
              'lambda m: read_number(m[1]) + "千", text)', "number")],
    "20.3": [('answer = ["fraction", "date", "difference", "score"]', "order"),
             ('answer = ["date", "fraction", "sum", "score"]', "words"),
             ('answer = ["date", "date", "difference", "score"]', "once")],
    "21.1": [('answer = ("x", "iu")', "spelling"), ('answer = ("xi", "u")', "initial"),
             ('answer = ("x", "ou")', "final")],
    "21.2": [("def phones_in(owner): return torch.unique(owner, return_counts=True)[1]", "pauses"),
             ("def phones_in(owner): return torch.unique(owner[owner >= 0])", "which"),
             ("def phones_in(owner): return torch.bincount(owner)", "runs")],
    "21.3": [('answer = ("lu4", "lu2")', "sound"), ('answer = ("ma1", "li2")', "letters"),
             ('answer = ("lun2", "bong1")', "letters")],
    "22.1": [("answer = [3, 3, 3]", "valleys"), ("answer = [2, 2, 3]", "reason"), ("answer = [2, 3, 3]", "inside")],
    "22.2": [('words = {"朝": "chao2"}', "others"), ('words = {"朝阳": "chao2"}', "syllables"),
             ('words = {"早": "zao3"}', "nothing")],
    "22.3": [("def curl(row): return row", "count"),
             ('def curl(row): return [p[:-1] + "r2" if q == "er2" else p for p, q in zip(row, [*row[1:], ""]) '
              'if p != "er2"]', "tone"),
             ('def curl(row): return [p + "r" if q == "er2" else p for p, q in zip(row, [*row[1:], ""]) '
              'if p != "er2"]', "spelling"),
             ('def curl(row): return [p[:-1] + "r" + p[-1] if q == "er2" else p for p, q in zip(row, [*row[1:], ""]) '
              'if p != "er2"]', "start")],
    "23.1": [("answer = 0", "initial"), ("answer = 2", "initial"), ("answer = 3", "final")],
    "23.2": [("def lengths(starts, end): return torch.diff(starts)", "last"),
             ("def lengths(starts, end): return torch.diff(starts, prepend=starts.new_zeros(1))", "first"),
             ("def lengths(starts, end): return -torch.diff(starts, append=starts.new_tensor([float(end)]))",
              "sign")],
    "23.3": [("answer = 11_025", "rate"), ("answer = 48_000", "second"), ("answer = 22_050", "rate")],
    "24.1": [("def rhyme(first, second): return first[-3:] == second[-3:]", "letters"),
             ("def rhyme(first, second): "
              "return english_phones(first).symbols[-2] == english_phones(second).symbols[-2]",
              "loose"),
             ("def rhyme(first, second): return first == second or (first, second) == ('bough', 'cow')", "strict")],
    "24.2": [("def loud(tones): return tones.index(1)", "phones"), ("def loud(tones): return 0", "which"),
             ("def loud(tones): return sum(t > 0 for t in tones) - 1", "which")],
    "24.3": [('answer = ("AE", "AE", "AE")', "same"), ('answer = ("AE", "AH", "AE")', "vowels"),
             ('answer = ("AH", "AE")', "shape")],
    "28.1": [("def phone_centres(d): return d.cumsum(1)",
              "ends"),
             ("def phone_centres(d): return d.cumsum(1) - d", "starts"),
             ("def phone_centres(d): return d / 2", "sum")],
    "28.2": [("def seconds_of(d): return d.sum(1)", "unit"),
             ("def seconds_of(d): return d.sum(1) * 256 / 48_000", "hop"),
             ("def seconds_of(d): return d.sum() * 1024 / 48_000", "shape")],
    "28.3": [("answer = 28", "frame"), ("answer = 300 / (1024 / 48)", "whole"), ("answer = 6", "unit")],
    "25.1": [("def drift(seconds):\n    frames = sum(seconds) * SAMPLE_RATE / FRAME\n    return round(frames) "
              "- frames", "edges"),
             ("def drift(seconds):\n    frames = [s * SAMPLE_RATE / FRAME for s in seconds]\n"
              "    return sum(frames) - sum(map(round, frames))", "sign"),
             ("def drift(seconds):\n    frames = [s * SAMPLE_RATE / FRAME for s in seconds]\n"
              "    return sum(map(int, frames)) - sum(frames)", "cut")],
    "25.2": [("answer = 0", "sure"), ("answer = 1 - (1 - 1 / 5000) ** 12_000", "complement"),
             ("answer = (1 - 1 / 5000) ** 1500", "syllables")],
    "25.3": [("def slip(said, labels):\n    return -max(range(-3, 4), key=lambda k: sum(\n"
              "        said[i] == labels[i + k] for i in range(len(said)) if 0 <= i + k < len(labels)))", "sign"),
             ("def slip(said, labels): return sum(a != b for a, b in zip(said, labels))", "count"),
             ("def slip(said, labels):\n    return max(range(4), key=lambda k: sum(a == b for a, b in "
              "zip(said, labels[k:])))",
              "way")],
    "26.1": [("def uncovered(rows, seconds): return seconds - sum(end - start for start, end in rows)", "overlap"),
             ("def uncovered(rows, seconds): return seconds - max(end for _, end in rows)", "holes"),
             ("def uncovered(rows, seconds):\n    holes, covered = 0.0, 0.0\n    for a, b in rows:\n"
              "        holes, covered = holes + max(0.0, a - covered), max(covered, b)\n"
              "    return holes + max(0.0, seconds - covered)", "order")],
    "26.2": [("def leaked(train, test): return sum(t in train for t in test) / len(test)", "punctuation"),
             ("def leaked(train, test):\n    def plain(t): return [c for c in unicodedata.normalize('NFKC', "
              "t).lower() if c.isalpha()]\n"
              "    return sum(plain(t) in list(map(plain, train)) for t in test) / len(test)", "digits"),
             ("def leaked(train, test):\n    def plain(t): return [c for c in unicodedata.normalize('NFKC', "
              "t).lower() if c.isalnum()]\n"
              "    return sum(plain(t) in list(map(plain, train)) for t in test) / len(train)", "share")],
    "26.3": [("answer = 0.7", "copies"), ("answer = 0.3 * 0.3", "complement"), ("answer = 1 - 0.3 ** 3", "itself")],
    "27.1": [("def to_make(plan, announced, there): return sorted(set(plan) - set(announced))", "recipe"),
             ("def to_make(plan, announced, there):\n"
              "    return sorted(n for n, r in plan.items() if announced.get(n, ' ')[0] != r)", "hash"),
             ("def to_make(plan, announced, there): return sorted(n for n in plan if n not in there)", "announced")],
    "27.2": [("def first_byte(sizes, k): return sum(-(-s // 512) * 512 for s in sizes[:k]) + 512", "header"),
             ("def first_byte(sizes, k): return sum(512 + s for s in sizes[:k]) + 512", "filled up"),
             ("def first_byte(sizes, k): return sum(512 + -(-s // 512) * 512 for s in sizes[:k])", "own header")],
    "27.3": [("answer = 1", "length"), ("answer = 1 / 256", "first"), ("answer = 256 / 65", "upside down")],
    "29.1": [("def file_column(rows, sounds):\n    found = [i for i, c in enumerate(zip(*rows)) if all(x in "
              "sounds for x in c)]\n"
              "    return found[0] if len(found) == 1 else -1", "paths"),
             ("def file_column(rows, sounds):\n    def stem(p): return re.split(r'[/\\\\]', p)[-1].split('.')[0]\n"
              "    known = set(map(stem, sounds))\n"
              "    found = [i for i, c in enumerate(zip(*rows)) if any(stem(x) in known for x in c)]\n"
              "    return found[0] if len(found) == 1 else -1", "every"),
             ("def file_column(rows, sounds):\n    def stem(p): return re.split(r'[/\\\\]', p)[-1].split('.')[0]\n"
              "    known = set(map(stem, sounds))\n"
              "    return next((i for i, c in enumerate(zip(*rows)) if all(stem(x) in known for x in c)), -1)",
              "certain")],
    "29.2": [('answer = "rrpps"', "missing"), ('answer = "sspps"', "language"), ('answer = "srppr"', "transcript")],
    "29.3": [("answer = 2 / 480", "complement"), ("answer = 1 - 2 / 8", "unit"), ("answer = 0.5", "cost")]
}
