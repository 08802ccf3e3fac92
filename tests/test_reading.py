"""A loss that reads: features, the frozen reader, its training and its weights."""
from dataclasses import replace
import pytest, torch
from latentspeech.aligner import PhoneRecogniser
from latentspeech.autoencoder import Autoencoder, NoiseInjection
from latentspeech.config import LossConfig, ReaderConfig, TrainConfig, preset
from latentspeech.corpora import make_embedded_corpus
from latentspeech.experiments.judges import misread
from latentspeech.experiments.train_autoencoder import reconstruction
from latentspeech.reading import ReadingLoss, ReaderTask, load_reader, reader_features, train_reader
from latentspeech.table import recorded
from latentspeech.tasks import AdversarialTask, AutoencoderTask, CropDataset, train_autoencoder, train_decoder
from latentspeech.training import TrainingError
from latentspeech.weights import PretrainedError, weights_hash

NETWORK = replace(ReaderConfig().network, width=16, recogniser=TrainConfig(steps=12, batch=4, warmup=2, ema=0))
SMALL = ReaderConfig(network=NETWORK)
HISSING = replace(preset("tiny"), autoencoder=replace(preset("tiny").autoencoder, noise_stages=2))


def noise(*shape, seed=0):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def tiny_corpus():
    return make_embedded_corpus(config=preset("tiny").corpus, progress=False)


@pytest.fixture(scope="module")
def reading():
    torch.manual_seed(0)
    return ReadingLoss(PhoneRecogniser(NETWORK), SMALL)


def test_features_forget_level_but_not_what_is_lost():
    sound = noise(2, 9000)
    assert reader_features(sound).shape == (2, 64, 36)
    torch.testing.assert_close(reader_features(0.3 * sound), reader_features(sound), atol=1e-3, rtol=1e-3)
    assert reader_features(1e-6 * sound, sound).abs().max() < 1e-5 < reader_features(1e-6 * sound + 1e-3).abs().max()


def test_features_are_of_each_sound_alone():
    "A crop's features don't depend on its neighbours in the batch, nor on how loud they are."
    sound = noise(3, 9000)
    sound[1] *= 40
    alone = torch.cat([reader_features(row[None]) for row in sound])
    torch.testing.assert_close(reader_features(sound), alone)


def test_nothing_to_complain_about_and_more_with_more_damage(reading):
    sound = noise(2, 1, 24_000)
    loss, terms = reading(sound, sound)
    assert loss == 0 and set(terms) == {"layers", "phones"}
    far = [reading(sound + s * noise(2, 1, 24_000, seed=1), sound)[0] for s in (0.01, 0.1, 1)]
    assert 0 < far[0] < far[1] < far[2]
    loss, terms = reading(sound.roll(700, -1), sound)
    torch.testing.assert_close(loss, SMALL.layers * terms["layers"] + SMALL.phones * terms["phones"])


@pytest.mark.parametrize("size", (0.0, 1e-30, 1e-6, 1.0, 1e4))
@pytest.mark.parametrize("target", ("silence", "sound"))
def test_slopes_are_finite(reading, size, target):
    copy = (size * noise(2, 1, 12_000)).requires_grad_()
    true = noise(2, 1, 12_000, seed=1) * (target == "sound")
    with torch.autocast("cpu", torch.bfloat16, enabled=size == 1.0):
        loss, _ = reading(copy, true)
    loss.backward()
    assert loss.isfinite() and copy.grad.isfinite().all() and loss.dtype == torch.float32


def test_the_reader_learns_nothing(reading):
    "Neither by gradients nor by running statistics, whoever calls train()."
    before = {k: v.clone() for k, v in reading.state_dict().items()}
    reading.train()
    copy = noise(2, 1, 12_000).requires_grad_()
    reading(copy, noise(2, 1, 12_000, seed=1))[0].backward()
    assert copy.grad.abs().sum() > 0 and not any(p.requires_grad for p in reading.parameters())
    assert all(torch.equal(v, before[k]) for k, v in reading.state_dict().items())


def test_sentences_come_with_fresh_hiss_and_hidden_bands(tiny_corpus):
    task = ReaderTask(tiny_corpus, tiny_corpus.split("train")[:4], SMALL)
    first, again, other = (task.mel(2, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    hidden = [int((task.mel(2, torch.Generator().manual_seed(s)) == 0).all(-1).sum()) for s in range(30)]
    assert 0 <= min(hidden) < max(hidden) <= SMALL.hidden_bands


def test_trained_kept_loaded_and_listening(tiny_corpus, tmp_path):
    "From a corpus to weights, to a loss, to an autoencoder that learns with it and goes on after a stop."
    few = tiny_corpus.with_utterances(tiny_corpus.split("train")[:6])
    run = train_reader(few, tmp_path / "reader", SMALL, progress=False, device="cpu")
    assert run.step == 12 and run.history[-1]["loss"] < run.history[0]["loss"]
    reading = load_reader(tmp_path / "reader")
    assert reading.config == SMALL
    sound = noise(1, 1, 12_000)
    kept = ReadingLoss(run.task.recogniser, SMALL)
    torch.testing.assert_close(reading(noise(1, 1, 12_000, seed=1), sound)[0],
                               kept(noise(1, 1, 12_000, seed=1), sound)[0], rtol=1e-2, atol=1e-3)
    learnt = train_autoencoder("tiny", few, tmp_path / "autoencoder", reading=reading, steps=2, progress=False,
                               device="cpu")
    assert {"layers", "phones", "mel"} <= set(learnt.history[-1])
    assert not any("reader" in k for k in learnt.task.autoencoder.state_dict())


@pytest.mark.parametrize("learn_encoder", (False, True))
def test_the_encoder_goes_on_where_it_is_asked_to(tiny_corpus, reading, tmp_path, learn_encoder):
    few = tiny_corpus.with_utterances(tiny_corpus.split("train")[:4])
    how = dict(progress=False, device="cpu", reading=reading)
    train_autoencoder("tiny", few, tmp_path / "first", steps=1, **how)
    before = Autoencoder.from_pretrained(tmp_path / "first")
    train_autoencoder("tiny", few, tmp_path / "on", warm_start=str(tmp_path / "first"), learn_encoder=learn_encoder,
                      steps=2, **how)
    after = Autoencoder.from_pretrained(tmp_path / "on")
    assert (weights_hash(before.encoder) != weights_hash(after.encoder)) == learn_encoder
    assert weights_hash(before.decoder) != weights_hash(after.decoder)
    record = tmp_path / "r.json"         # a checkpoint of either kind can be measured
    reconstruction(corpus=str(tiny_corpus.folder), weights=(f"on={tmp_path / 'on/step-00000002.pt'}",), preset="tiny",
                   judge="mini", speakers="female", limit=1, out=str(record))
    assert recorded(record)["training"]["on"]["steps"] == 2
    with pytest.raises(TrainingError):   # the folder holds a run of the other kind
        train_autoencoder("tiny", few, tmp_path / "on", warm_start=str(tmp_path / "first"),
                          learn_encoder=not learn_encoder, steps=3, **how)


def test_a_decoder_that_may_hiss_is_asked_twice_and_scored(tiny_corpus, reading):
    "Half the distance between two draws is taken off; with a reader, too; and judged as it is trained."
    task = AutoencoderTask(HISSING, CropDataset(tiny_corpus, tiny_corpus.split("train")[:4]))
    task.reading, audio = reading, task.batch(torch.Generator().manual_seed(0), 2)["audio"]
    torch.manual_seed(1)
    loss, terms = task({"audio": audio})
    loss.backward()
    torch.manual_seed(1)
    decoded, bands, true_bands, _ = task.autoencoder.reconstruct(audio, 2)
    alone = [task.distance(audio, *draw, true_bands)[0] for draw in zip(decoded.chunk(2), bands.chunk(2))]
    torch.testing.assert_close(loss, sum(alone) / 2 - terms["spread"] / 2)
    assert {"spread", "layers", "mel"} <= set(terms) and terms["spread"] > 0
    gates = [p.grad for name, p in task.autoencoder.named_parameters() if ".gate." in name]
    assert gates and all(g is not None and g.abs().sum() > 0 for g in gates)
    with torch.no_grad():
        judged, again = task.eval()({"audio": audio}), task({"audio": audio})
    assert set(judged[1]) == set(terms) and judged[1]["spread"] > 0 and judged[0] == again[0]
    assert "spread" not in AutoencoderTask(preset("tiny"), task.clips)({"audio": audio})[1]


def test_training_goes_on_with_noise_where_there_was_none(tiny_corpus, tmp_path):
    few = tiny_corpus.with_utterances(tiny_corpus.split("train")[:4])
    how = dict(progress=False, device="cpu")
    train_autoencoder("tiny", few, tmp_path / "first", steps=1, **how)
    run = train_autoencoder(HISSING, few, tmp_path / "on", warm_start=str(tmp_path / "first"), steps=2, **how)
    before, after = (Autoencoder.from_pretrained(tmp_path / name) for name in ("first", "on"))
    assert after.config.noise_stages == 2 and weights_hash(before.encoder) == weights_hash(after.encoder)
    assert "spread" in run.history[-1]


def test_discriminators_hear_one_draw_and_the_loss_two(tiny_corpus, tmp_path):
    few = tiny_corpus.with_utterances(tiny_corpus.split("train")[:4])
    train_autoencoder("tiny", few, tmp_path / "first", steps=1, progress=False, device="cpu")
    task = AdversarialTask(HISSING, CropDataset(few, few.split("train")), str(tmp_path / "first"))
    audio = task.batch(torch.Generator().manual_seed(0), 2)["audio"]
    heard = []
    def ask(sound, learn):
        heard.append(sound.shape)
        return AdversarialTask.verdicts(task, sound, learn)
    task.verdicts = ask
    loss, terms = task({"audio": audio})
    loss.backward()
    assert heard == [audio.shape] * 3 and loss.isfinite() and terms["spread"] > 0
    gates = [m.gate.parametrizations.weight.original1.grad for m in task.modules() if isinstance(m, NoiseInjection)]
    assert gates and all(g.abs().sum() > 0 for g in gates)


def test_a_loss_of_base_and_a_reader_add_up(tiny_corpus, reading):
    task = AutoencoderTask(replace(preset("tiny"), loss=LossConfig(phase=0.25)),
                           CropDataset(tiny_corpus, tiny_corpus.split("train")[:4]))
    batch = task.batch(torch.Generator().manual_seed(0), 2)
    torch.manual_seed(1)
    alone, terms = task(batch)
    task.reading = reading
    torch.manual_seed(1)
    both, more = task(batch)
    assert set(more) - set(terms) == {"layers", "phones"}
    torch.testing.assert_close(both - alone, SMALL.layers * more["layers"] + SMALL.phones * more["phones"],
                               rtol=1e-3, atol=1e-5)


def test_a_reader_listens_in_both_stages(tiny_corpus, reading, tmp_path):
    few = tiny_corpus.with_utterances(tiny_corpus.split("train")[:2])
    alike = dict(reading=reading, steps=2, progress=False, device="cpu")
    first = train_autoencoder("tiny", few, tmp_path / "first", **alike)
    second = train_decoder("tiny", few, tmp_path / "second", str(tmp_path / "first"), **alike)
    for run in (first, second):
        assert {"layers", "phones"} <= run.history[-1].keys()


def test_what_a_reader_writes_down_is_counted(tiny_corpus, tmp_path):
    few = tiny_corpus.with_utterances(tiny_corpus.split("train")[:3])
    sounds = [few.audio(u) for u in few]
    torch.manual_seed(0)
    deaf = ReadingLoss(PhoneRecogniser(NETWORK), SMALL)
    deaf.reader.leave.bias.data[0] += 100          # it hears nothing: every phone is missing
    assert deaf.read(sounds[0]) == [] and misread(deaf, sounds, list(few)) == 1
    training = TrainConfig(steps=100, batch=3, learning_rate=2e-3, warmup=10, ema=0)
    learning = replace(NETWORK, width=64, recogniser=training)
    train_reader(few, tmp_path, replace(SMALL, network=learning), progress=False, device="cpu")
    apt = load_reader(tmp_path)
    assert misread(apt, sounds, list(few)) < 0.6 < misread(apt, sounds[::-1], list(few))
    assert misread(apt, sounds, list(few)).per_utterance[1].tolist() == [len(u.symbols) for u in few]


def test_no_reader_there(tmp_path):
    with pytest.raises(PretrainedError, match="reader"):
        load_reader(tmp_path)
