"""Wrong answers to the exercises of lessons 00 and 80: code, and the property that it fails in."""

WRONG = {
    "00.1": [("answer = (2, 2)", "syllable"), ("answer = (3, 1)", "same"), ("answer = (3, 4)", "tone")],
    "00.2": [("answer = 2 * 48_000 / 1024", "whole"), ("answer = 93", "begun"), ("answer = 16 * 94", "rows")],
    "00.3": [('answer = "DCBA"', "text"), ('answer = "BCDA"', "noise"), ('answer = "BDAC"', "sound")],
    "80.1": [("import torch\ndef same_bits(first, second):\n"
              "    return len(first) == len(second) and torch.allclose(first, second)",
              "last bit"),
             ("def same_bits(first, second): return first.double().sum() == second.double().sum()", "order"),
             ("def same_bits(first, second): return all(a == b for a, b in zip(first, second))", "length")],
    "80.2": [("answer = 4 * 5 * 1.5 / 60", "multiply"), ("answer = 4 ** 5 * 1.5", "unit"),
             ("answer = 5 ** 4 * 1.5 / 60", "base")],
    "80.3": [("def melody(hertz):\n    voiced = hertz[~hertz.isnan()]\n    return voiced[-1] - voiced[0]", "hertz"),
             ("def melody(hertz):\n    voiced = hertz[~hertz.isnan()]\n    return (voiced[-1] / voiced[0]).log2()",
              "octave"),
             ("def melody(hertz): return 12 * (hertz[-1] / hertz[0]).log2()", "finite")],
}
