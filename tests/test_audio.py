"""Audio against other libraries, and against ten broken files."""
import base64, io, json, math, os, re, shutil, struct, subprocess, sys, tarfile
from pathlib import Path
import numpy as np, pytest, soundfile, torch
import librosa_values
from hypothesis import given, settings, strategies as st
from latentspeech import audio as A
from latentspeech.audio import AudioError, load, load_torchaudio, save

torchaudio, LIBROSA = load_torchaudio(), json.loads(librosa_values.FILE.read_text("utf8"))

noise = torch.rand(24_000, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8


@pytest.mark.parametrize("suffix, floor", [(".wav", 85), (".flac", 85), (".ogg", 5), (".mp3", 5)])
def test_files_come_back(tmp_path, suffix, floor):
    sound = A.vowel("a", 3)
    path = save(tmp_path / "deep" / f"a{suffix}", sound)
    again = load(path)
    assert again.dtype == torch.float32 and again.ndim == 1 and abs(len(again) - len(sound)) < 2400
    assert abs(A.level(again) - A.level(sound)) < 0.3
    if suffix in (".wav", ".flac"):
        assert (again - sound).abs().max() < 1 / 32000
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("subtype, tolerance", [("PCM_U8", 1e-2), ("PCM_16", 1e-4), ("PCM_24", 1e-6),
                                                ("PCM_32", 1e-7), ("FLOAT", 1e-7), ("DOUBLE", 1e-7)])
def test_every_sample_format(tmp_path, subtype, tolerance):
    soundfile.write(tmp_path / "x.wav", noise.numpy(), 48_000, subtype=subtype)
    assert (load(tmp_path / "x.wav") - noise).abs().max() <= tolerance


def test_stereo_is_mixed_and_rates_are_changed(tmp_path):
    soundfile.write(tmp_path / "s.wav", np.stack([noise, -noise * 0.5], 1), 24_000)
    both = load(tmp_path / "s.wav", 24_000)
    assert torch.allclose(both, noise * 0.25, atol=1e-4)
    assert load(tmp_path / "s.wav").shape == (48_000,)


def broken_files(folder: Path):
    good = save(folder / "good.wav", noise).read_bytes()
    flac = save(folder / "good.flac", noise).read_bytes()
    ogg = save(folder / "good.ogg", noise.repeat(10)).read_bytes()
    nan, big = noise.numpy().copy(), noise.numpy() * 32768
    nan[100] = np.nan
    soundfile.write(folder / "nan.wav", nan, 48_000, subtype="FLOAT")
    soundfile.write(folder / "integers.wav", big, 48_000, subtype="FLOAT")
    soundfile.write(folder / "no_samples.wav", np.zeros(0), 48_000)
    (folder / "folder.wav").mkdir()
    for name, data in {"cut.wav": good[:len(good) // 2], "one_sample_short.wav": good[:-2],
                       "header_only.wav": good[:44], "half_header.wav": good[:20],
                       "cut.flac": flac[:len(flac) // 2], "cut.ogg": ogg[:len(ogg) // 2], "empty.wav": b"",
                       "page.wav": b"<!DOCTYPE html><html><body>not found</body></html>",
                       "noise.wav": bytes(range(256)) * 40}.items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("name, says", [
    ("cut.wav", "cut short"), ("one_sample_short.wav", "cut short"), ("header_only.wav", "cut short"),
    ("half_header.wav", ""), ("cut.flac", ""), ("cut.ogg", "cut short"),
    ("empty.wav", "it is empty"), ("page.wav", "web page"), ("noise.wav", "no audio"), ("nan.wav", "NaN"),
    ("integers.wav", "32768"), ("no_samples.wav", "no samples"),
    ("folder.wav", "no file"), ("absent.wav", "no file")])
def test_broken_files_are_refused_in_one_line(tmp_path, name, says):
    broken_files(tmp_path)
    with pytest.raises(AudioError) as error:
        load(tmp_path / name)
    assert says in str(error.value) and "\n" not in str(error.value) and name in str(error.value)


def test_a_streamed_wav_of_unknown_length_is_read(tmp_path):
    data = bytearray(save(tmp_path / "x.wav", noise).read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4
    (tmp_path / "x.wav").write_bytes(data)
    assert len(load(tmp_path / "x.wav")) == len(noise)


def test_chunks_before_and_after_the_samples_are_no_cut(tmp_path):
    data = save(tmp_path / "x.wav", noise).read_bytes()
    data = (
        data[:12]
        + b"junk"
        + struct.pack("<I", 5)
        + b"hello\0"
        + data[12:]
        + b"LIST"
        + struct.pack("<I", 4)
        + b"abcd"
    )
    (tmp_path / "x.wav").write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    assert len(load(tmp_path / "x.wav")) == len(noise)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_save_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch, call):
    path = save(tmp_path / "x.wav", noise)
    before = path.read_bytes()
    def full(*arguments):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError):
        save(path, noise * 0.5)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


KILLED = ("import os, sys, latentspeech.audio as a; os.replace = lambda *x: os.kill(os.getpid(), 9); "
          "a.write_atomically(sys.argv[1], b'new' * 9999)")
def test_a_process_killed_while_it_writes_leaves_the_old_file(tmp_path):
    path = A.write_atomically(tmp_path / "deep" / "x", b"old")
    ran = subprocess.run([sys.executable, "-c", KILLED, path],
                         env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    assert ran.returncode == -9
    assert path.read_bytes() == b"old"
    assert A.write_atomically(path, b"new").read_bytes() == b"new"


@pytest.mark.parametrize("bad", [torch.zeros(2, 100), torch.full((5,), math.nan), torch.zeros(0),
                                 torch.full((5,), 3.0)])
def test_save_refuses(tmp_path, bad):
    with pytest.raises(AudioError):
        save(tmp_path / "x.wav", bad)
    with pytest.raises(AudioError, match="end the name"):
        save(tmp_path / "x.txt", noise)
    assert not list(tmp_path.iterdir())


def test_save_clips_a_small_overshoot(tmp_path):
    assert load(save(tmp_path / "x.wav", noise * 1.5)).abs().max() <= 1


@pytest.mark.parametrize("rate, into", [(44_100, 48_000), (22_050, 48_000), (48_000, 16_000), (24_000, 48_000)])
def test_resampling_keeps_a_tone(rate, into):
    def tone(r):
        return torch.sin(2 * torch.pi * 997 * torch.arange(r).double() / r)
    ours, ideal = A.resample(tone(rate), rate, into), tone(into)
    assert len(ours) == into and A.signal_to_noise(ideal[into // 4:-into // 4], ours[into // 4:-into // 4]) > 80


def test_resampling_refuses_awkward_rates():
    with pytest.raises(AudioError, match="awkward"):
        A.resample(noise, 44_101, 48_000)


def test_spectrogram_equals_librosa():
    ours = librosa_values.some(A.stft_magnitude(librosa_values.noise(), 1024, 256))
    assert np.allclose(ours, LIBROSA["stft"], atol=1e-5)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_mel_equals_librosa_and_torchaudio(power):
    ours = A.mel_spectrogram(noise, 48_000, 1024, 256, 64, 40.0, 12_000.0, power)
    scale = (2 / 512) ** power
    mel = torchaudio.transforms.MelSpectrogram(48_000, 1024, hop_length=256, f_min=40, f_max=12_000, n_mels=64,
                                               power=power, pad_mode="constant")
    assert torch.allclose(ours, mel(noise) * scale, rtol=1e-3, atol=1e-6)
    ours = A.mel_spectrogram(librosa_values.noise(), 48_000, 1024, 256, 64, 40.0, 12_000.0, power)
    assert np.allclose(librosa_values.some(ours), LIBROSA["mel"][str(int(power))], rtol=1e-3, atol=1e-5)


def test_mel_has_true_gradients_and_keeps_shapes():
    x = noise[:700].double().reshape(1, 1, 700).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: A.log_mel(y, 48_000, 256, 128, 8), x, eps=1e-6, atol=1e-5)
    assert A.mel_spectrogram(x, n_fft=256, hop=128, n_mels=8).shape == (1, 1, 8, 6)


def test_silence_has_finite_gradients():
    x = torch.zeros(4096, requires_grad=True)
    A.log_mel(x).sum().backward()
    assert x.grad.isfinite().all()


def test_inference_mode_leaves_no_trap_in_the_cache():
    with torch.inference_mode():
        A.log_mel(noise, n_fft=374, hop=100, n_mels=9)
    x = noise.clone().requires_grad_()
    A.log_mel(x, n_fft=374, hop=100, n_mels=9).sum().backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    ours = A.mel_spectrogram(noise.to(dtype))
    assert torch.allclose(ours.float(), A.mel_spectrogram(noise), rtol=0.1, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5000))
def test_any_length(n):
    assert A.log_mel(noise[:n]).shape == (80, n // 512 + 1) and A.fade(noise[:n]).shape == (n,)


@pytest.mark.parametrize("rate", [48_000, 16_000, 11_025, 3000])
def test_the_player_keeps_the_level(rate):
    quiet = A.fade(0.01 * torch.sin(2 * torch.pi * 300 * torch.arange(rate) / rate), 0.05, rate)
    uri = re.search(r'src="data:audio/\w+;base64,([^"]+)"', A.play(quiet, rate, "<quiet>")._repr_html_()).group(1)
    heard, heard_rate = soundfile.read(io.BytesIO(base64.b64decode(uri)))
    assert abs(A.level(heard) - A.level(quiet)) < 0.5 and abs(len(heard) / heard_rate - 1) < 0.2


def test_the_player_escapes_its_title():
    html = A.play(noise, title="<script>")._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "0.50 s" in repr(A.play(noise))


def test_compare_draws_shared_axes_at_equal_level():
    import matplotlib.pyplot as plt
    players = A.compare({"one": noise, "two": noise * 0.1}, f_max=8000)
    axes = plt.gcf().axes
    assert axes[0].get_ylim() == axes[1].get_ylim() == (0, 8) and np.allclose(*players.sounds.values(), atol=1e-5)
    plt.close("all")


def test_match_level_and_silence():
    assert A.match_level(torch.zeros(5), noise).eq(0).all() and A.level([0.5, -0.5]) == pytest.approx(-6.02, abs=0.01)


def test_import_has_no_side_effects():
    code = (
        "import sys, torch, matplotlib; s = torch.initial_seed; a = torch.random.get_rng_state(); import "
        "latentspeech.audio; "
        "assert torch.equal(a, torch.random.get_rng_state()); assert 'matplotlib.pyplot' not in sys.modules; "
        "assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True,
                   env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})


def test_real_recordings_load(tmp_path):
    folder = Path(__file__).parents[2] / "shared" / "data"
    tars = sorted(folder.rglob("*.tar")) if folder.is_dir() else []
    if not tars:
        pytest.skip("no real recordings beside the checkout")
    for tar in tars:
        with tarfile.open(tar) as archive:
            members = [m for m, _ in zip((m for m in archive if m.isfile()), range(3))]
            for member in members:
                path = tmp_path / Path(member.name).name
                path.write_bytes(archive.extractfile(member).read())
                if path.suffix in (".wav", ".flac", ".mp3", ".ogg", ".opus"):
                    assert -70 < A.level(load(path)) < -3


def test_torchaudio_comes_without_a_binary_that_cannot_load(tmp_path):
    """Its wheel's binary is made for one kind of torch: beside another, all but that binary is there."""
    package = Path(torchaudio.__file__).parent
    shutil.copytree(package, tmp_path / "torchaudio", ignore=shutil.ignore_patterns("*.so*", "__pycache__"))
    (tmp_path / "torchaudio/lib/_torchaudio.abi3.so").write_bytes(b"made for another torch")
    code = ("import torch\ntry: import torchaudio\nexcept OSError: pass\nelse: raise SystemExit('it loaded')\n"
            "from latentspeech.audio import load_torchaudio\nfrom latentspeech.files import MissingExtra\n"
            "audio = load_torchaudio()\nassert audio.functional.resample(torch.zeros(480), 480, 160).shape == (160,)\n"
            "try: audio.functional.forced_align(None, None)\nexcept MissingExtra as error: print(error)\n"
            "print(audio.__file__)")
    root = Path(A.__file__).parent.parent
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120,
                           env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"})
    assert found.returncode == 0, found.stderr
    assert "forced_align wants the binary" in found.stdout and str(tmp_path) in found.stdout


def test_a_name_with_a_tilde_is_a_file_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert save("~/x.wav", torch.zeros(480)) == tmp_path / "x.wav" and (tmp_path / "x.wav").exists()
    assert not (tmp_path / "~").exists()
