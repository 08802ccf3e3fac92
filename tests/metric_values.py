"""Damage a sentence in known ways: `python tests/metric_values.py` writes what each measure makes of it.

Tests compare every machine with tests/data/metric_values.json. Make it again only when a measure is meant to
change, and say so.
"""
import json, math, warnings
from pathlib import Path

import torch
from latentspeech import distances as d
from latentspeech.audio import vowel
from latentspeech.files import MissingExtra

FILE = Path(__file__).parent / "data/metric_values.json"
RATE, SILENCE = 48_000, 9600                          # 200 ms
WORDS = (("a", 1), ("i", 4), ("u", 2), ("e", 3))


def speech(seconds=0.24, tones=None, names=None, gap=2 * SILENCE):
    "Vowels with tones between two pauses, over a faint hiss: no recording, no synthesiser, the same on every machine."
    parts = [vowel(names[k] if names else name, tones or tone, seconds, 170) for k, (name, tone) in enumerate(WORDS)]
    sound = torch.cat([torch.zeros(gap), *parts, torch.zeros(gap)])
    return sound + 1e-4 * torch.randn(len(sound), generator=torch.Generator().manual_seed(1))


def noisy(sound, snr):
    "Add white noise, `snr` dB below the sound."
    return sound + sound.std() * 10 ** (-snr / 20) * torch.randn(len(sound), generator=torch.Generator().manual_seed(0))


def low_pass(sound, hertz):
    "Take away all above a frequency."
    spectrum = torch.fft.rfft(sound)
    spectrum[torch.fft.rfftfreq(len(sound), 1 / RATE) > hertz] = 0
    return torch.fft.irfft(spectrum, len(sound))


def damages() -> dict:  # name -> sound; the first is the reference
    "Make the sentence and its damaged copies."
    a = speech()
    pause = torch.zeros(SILENCE)
    return {"reference": a, "itself": a.clone(), "+6 dB": 2 * a, "-6 dB": a / 2,
            "200 ms more before": torch.cat([pause, a]), "200 ms less before": a[SILENCE:],
            "200 ms more after": torch.cat([a, pause]), "200 ms less after": a[:-SILENCE],
            "a tenth faster": speech(0.216), "a quarter slower": speech(0.3), "all tones high": speech(tones=1),
            "other vowels": speech(names="euai"),
            **{f"noise at {snr} dB": noisy(a, snr) for snr in (40, 20, 10, 0)},
            **{f"nothing above {f} Hz": low_pass(a, f) for f in (6000, 4000, 2000, 1000)},
            "silence": torch.zeros(len(a))}


def values(sounds) -> dict:
    "Measure each damaged copy against the reference; measures whose package is missing are left out."
    (_, reference), *others = sounds.items()
    seen = d.world(reference)
    def measures(sound):
        view = d.world(sound)
        pitch = d.f0_metrics(seen, view)
        yield from dict(mcd=d.mel_cepstral_distortion(seen, view), f0_rmse=pitch.rmse_semitones,
                        f0_correlation=pitch.correlation, length_ratio=d.length_ratio(reference, sound),
                        level=d.level_difference(reference, sound),
                        author_script=d.author_script_mfcc_distance(reference, sound)).items()
        if len(sound) != len(reference):
            return           # PESQ and STOI want sounds in step
        for name, measure in (("pesq", d.pesq_wb), ("stoi", d.stoi)):
            try:
                yield name, measure(reference, sound)
            except MissingExtra:
                pass
    def plain(value):
        return round(float(value), 4) if math.isfinite(value) else None     # a failure has no number
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: {metric: plain(value) for metric, value in measures(sound)} for name, sound in others}


if __name__ == "__main__":
    found = values(damages())
    text = ",\n".join(f" {json.dumps(name)}: {json.dumps(row)}" for name, row in found.items())
    FILE.write_text("{\n" + text + "\n}\n", "utf8")
    print(text)
