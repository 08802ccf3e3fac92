"What a run leaves for others to look at: lines of JSON always, and TensorBoard's files, read back here."
import json
import pytest, torch
from latentspeech import cli
from latentspeech.config import preset
from latentspeech.corpora import make_embedded_corpus
from latentspeech.tasks import Tracker, train_autoencoder, train_voice
from latentspeech.training import latest_checkpoint


@pytest.fixture(scope="module")
def corpus():
    whole = make_embedded_corpus(config=preset("tiny").corpus, progress=False)
    return whole.with_utterances(whole.split("train")[:6])


def events(folder):
    "Read back what TensorBoard would show."
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="train extra")
    found = reader.EventAccumulator(str(folder / "tensorboard"))
    return found.Reload()


@pytest.fixture(scope="module")
def tracked(corpus, tmp_path_factory):
    "Train the autoencoder twice, watched and not, and the voice watched."
    root = tmp_path_factory.mktemp("tracked")
    for name, callback in (("plain", None), ("watched", Tracker(every=3, losses=1))):
        train_autoencoder("tiny", corpus, root / name, steps=6, device="cpu", progress=False, callback=callback)
    train_voice("tiny", corpus, root / "voice", autoencoder=str(root / "watched"), steps=4, device="cpu",
                progress=False, callback=Tracker(every=2, losses=2))
    return root


def test_losses_sounds_and_pictures_are_read_back(tracked):
    found, history = events(tracked / "watched"), latest_checkpoint(tracked / "watched")["history"]
    assert set(history[0]) - {"step", "seconds"} == set(found.Tags()["scalars"])
    assert [(e.step, round(e.value, 4)) for e in found.Scalars("loss")] == [(h["step"], round(h["loss"], 4))
                                                                          for h in history]
    assert sorted(found.Tags()["audio"]) == sorted(found.Tags()["images"]) == ["copy", "crop"]
    for name in ("crop", "copy"):
        assert [e.step for e in found.Audio(name)] == [e.step for e in found.Images(name)] == [3, 6]
        assert all(e.sample_rate == 48_000 and e.encoded_audio_string[:4] == b"RIFF" for e in found.Audio(name))
        assert all(e.height == 80 and e.encoded_image_string[1:4] == b"PNG" for e in found.Images(name))
    crop, later = found.Audio("crop")
    assert crop.encoded_audio_string == later.encoded_audio_string, "the same crop each time"
    assert len({e.encoded_audio_string for e in found.Audio("copy")}) == 2, "and a copy that learns"


def test_a_voice_shows_latents_and_its_prior(tracked):
    found = events(tracked / "voice")
    assert sorted(found.Tags()["images"]) == ["latents", "prior"] and not found.Tags()["audio"]
    assert [e.step for e in found.Scalars("diffusion")] == [1, 2, 4]


def test_being_watched_changes_nothing(tracked):
    plain, watched = (latest_checkpoint(tracked / name)["task"] for name in ("plain", "watched"))
    assert all(torch.equal(plain[k], watched[k]) for k in plain)


@pytest.mark.parametrize("name", ["plain", "watched", "voice"])
def test_lines_of_json_are_always_there(tracked, name):
    lines = (tracked / name / "history.jsonl").read_text("utf8").splitlines()
    assert [json.loads(line) for line in lines] == latest_checkpoint(tracked / name)["history"]
    assert not (tracked / "plain/tensorboard").exists() and not (tracked / name / "history.json").exists()


def test_the_shell_tracks_where_it_is_asked_to(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "autoencoder", "--preset", "tiny", "--steps", "2", "--track", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["autoencoder"]["steps"] == 2
    assert events(tmp_path / "out/train/tiny/autoencoder").Scalars("loss")
    assert cli.main(["train", "--preset", "tiny", "--track", "--clock", "--minutes", "1"]) == 2
    assert "--clock" in capsys.readouterr().err
