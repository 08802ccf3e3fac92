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
    "28.1": [("def phone_centres(d): return d.cumsum(1)",
              "ends"),
             ("def phone_centres(d): return d.cumsum(1) - d", "starts"),
             ("def phone_centres(d): return d / 2", "sum")],
    "28.2": [("def seconds_of(d): return d.sum(1)", "unit"),
             ("def seconds_of(d): return d.sum(1) * 256 / 48_000", "hop"),
             ("def seconds_of(d): return d.sum() * 1024 / 48_000", "shape")],
    "28.3": [("answer = 28", "frame"), ("answer = 300 / (1024 / 48)", "whole"), ("answer = 6", "unit")]
}
