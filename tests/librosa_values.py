"""Let librosa speak once: `python tests/librosa_values.py` writes what it makes of fixed sounds.

Tests compare ours with tests/data/librosa_values.json, so that nobody has to install librosa (and numba with it)
to run them. To make the file again: `pip install librosa`, then this command.
"""
import json, math
from pathlib import Path
import numpy as np, torch

FILE = Path(__file__).parent / "data/librosa_values.json"
RATE = 48_000
SHAPES = ((1, 1), (1, 7), (7, 1), (40, 60))      # of the costs that are warped


def noise() -> torch.Tensor:
    "Return half a second of noise, the same on every machine."
    return torch.rand(24_000, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8


def some(values) -> list:
    "Return forty entries of a matrix, spread over all of it."
    flat = np.asarray(values).reshape(-1)
    return [float(f"{v:.7g}") for v in flat[np.linspace(0, len(flat) - 1, 40).astype(int)]]


def cost(shape) -> np.ndarray:
    "Return the costs of a warping path of that shape."
    return np.random.default_rng(0).random(shape)


def sentences() -> tuple:
    "Return a sentence of vowels and a noisy copy of another length."
    from latentspeech.audio import vowel
    parts = [vowel(name, tone, 0.3, 170) for name, tone in (("a", 1), ("i", 4), ("u", 2), ("e", 3))]
    a = torch.cat([torch.zeros(2400), *parts, torch.zeros(2400)])
    a = a + 1e-4 * torch.randn(len(a), generator=torch.Generator().manual_seed(1))
    b = a + a.std() * 10 ** -0.5 * torch.randn(len(a), generator=torch.Generator().manual_seed(0))
    return a, b[:50_000]


def main():
    "Ask librosa and write the file."
    import librosa
    magnitude = np.abs(librosa.stft(noise().numpy(), n_fft=1024, hop_length=256)) * 2 / 512
    filters = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=64, fmin=40, fmax=12_000, htk=True, norm=None)
    x, y = (librosa.feature.mfcc(y=s.numpy(), sr=RATE, n_mfcc=13) for s in sentences())
    n = min(x.shape[1], y.shape[1])
    warped = [float(librosa.sequence.dtw(C=cost(shape))[0][-1, -1]) for shape in SHAPES]
    distance = float(10 / math.log(10) * np.linalg.norm(x[:, :n] - y[:, :n], axis=0).mean())
    values = dict(version=librosa.__version__, stft=some(magnitude), warped=warped, mfcc_distance=distance,
                  mel={str(power): some(filters @ magnitude ** power) for power in (1, 2)})
    FILE.write_text(json.dumps(values, indent=1) + "\n", "utf8")


if __name__ == "__main__":
    main()
