"""What a lesson cell can't show of the baselines: oracles, exact resume, refused weights, the recorded table."""
import itertools, os, shlex, signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forks import Fork
from latentspeech.audio import level, load_torchaudio, vowel
from latentspeech.weights import PretrainedError, load_weights
from latentspeech.baselines import (BASELINES, BandRepresentation, BaselineError, BaselineTask, MeanPredictor,
                                    MelRepresentation, MelVocoder, baseline_example, baseline_preset, cost,
                                    griffin_lim, load_baseline, load_vocoder, train_baseline, untrained,
                                    vocoder_config)
from latentspeech.config import PRESETS
from latentspeech.corpora import frame_durations, make_embedded_corpus
from latentspeech.experiments import paper_table as tool
from latentspeech.experiments.harness import spread
from latentspeech.judge import Judge
from latentspeech.losses import FLOOR
from latentspeech.metrics import syllable_error_rate
from latentspeech.synthesis import LatentSpeech, Representation, Voice
from latentspeech.table import recorded
from latentspeech.tasks import fit_latent_statistics
from latentspeech.text import Phones, front_end
from latentspeech.training import step_generator

ROOT = Path(__file__).parent.parent
RECORD, PEOPLE = (ROOT / "data" / "results" / f"{name}.json" for name in ("61_baselines", "72_paper_table"))
RECORDINGS = ROOT.parent / "shared" / "data" / "audio-cmn"
TINY = PRESETS["tiny"]
COMMAND = "-m", "latentspeech.experiments.paper_table", "paper-table"


@pytest.fixture(scope="module")
def corpus():
    return make_embedded_corpus(config=TINY.corpus, progress=False)


@pytest.fixture(scope="module")
def mels(corpus):
    mels = MelRepresentation()
    fit_latent_statistics(mels, corpus, 8)
    return mels


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Run the command that made the recorded table, at small scale: its folder holds weights of everything."""
    folder = tmp_path_factory.mktemp("made")
    process = Fork(*COMMAND, "--preset", "tiny", "--seconds", "0.1", "--limit", "1", "--n-distance", "0",
                   "--folder", folder, "--out", folder / "table.json")
    assert process.wait(300) == 0, process.said()
    return folder


def phones(u):
    return Phones(u.symbols, u.tones, [], u.pinyin)


def test_mels_are_those_of_torchaudio():
    torchaudio = load_torchaudio()
    audio = torch.randn(1, 1, 256 * 40) * 0.1
    window = torch.hann_window(2048)
    other = torchaudio.transforms.MelSpectrogram(48_000, 2048, hop_length=256, n_mels=80, power=1.0,
                                                 pad_mode="constant")(audio[0]) * 2 / window.sum()
    torch.testing.assert_close(MelRepresentation().numbers(audio), other.clamp(min=FLOOR).log()[..., :-1],
                               atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("n", [1, 127, 128, 129, 5000])
def test_bands_fold_without_loss_and_in_order(n):
    bands, audio = BandRepresentation(), torch.randn(2, 1, n, generator=step_generator(0, n)) * 0.1
    white = bands.encode(audio)
    assert white.shape == (2, 128, -(-n // 128))
    plain = bands.pqmf(torch.nn.functional.pad(audio, (0, -n % 128)))
    for band, k in ((0, 0), (3, 5), (15, 7)):
        assert torch.equal(white[:, 8 * band + k], plain[:, band, k::8])
    torch.testing.assert_close(bands.decode(white)[..., :n], audio, atol=2e-4, rtol=0)


def test_statistics_make_white(corpus):
    for representation in (MelRepresentation(), BandRepresentation()):
        train = corpus.split("train")
        fit_latent_statistics(representation, corpus, len(train))
        white = torch.cat([representation.encode(corpus.audio(u)[None, None])[0] for u in train], 1)
        assert white.mean(1).abs().max() < 1e-2 and white.std(1).max() < 1.01
        loud = representation.latent_std > 2e-4    # what is quieter than that stays quiet
        torch.testing.assert_close(white.std(1)[loud], torch.ones(int(loud.sum())), atol=1e-2, rtol=0)


def test_griffin_lim_repeats_itself_and_leaves_the_generator_alone(mels):
    audio = vowel("a", seconds=0.5)[None, None]
    before = torch.random.get_rng_state()
    first, second = (mels.decode(mels.encode(audio)) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(before, torch.random.get_rng_state())
    assert abs(level(first) - level(audio)) < 3 and griffin_lim(torch.full((1, 80, 1), -9.0)).shape == (1, 1, 256)


def test_mean_learns_the_mean_and_hears_no_noise():
    mean, condition = MeanPredictor(4, 3), torch.ones(1, 4, 5)
    optimizer = torch.optim.Adam(mean.parameters(), 0.05)
    for i in range(300):
        z = torch.tensor([-1.0, 3.0])[torch.randint(2, (64,),
                                                    generator=step_generator(0, i))][:, None, None].expand(64, 3, 5)
        loss = (mean(z, torch.ones(64), condition) - z).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(mean(torch.randn(2, 3, 5), torch.rand(2), condition), torch.ones(2, 3, 5), atol=0.5,
                               rtol=0)
    assert torch.equal(mean(torch.zeros(4, 3, 5), torch.ones(4), condition),
                       mean(torch.randn(4, 3, 5), torch.zeros(4), condition))


def test_durations_are_finer_in_finer_frames(corpus):
    for u in corpus.split("train")[:5]:
        example = baseline_example(u, torch.zeros(80, 1), corpus.speakers, 256)
        ends = example["durations"].cumsum(0)
        assert int(ends[-1]) == -(-round(u.seconds * 48_000) // 256) and (example["durations"] > 0).all()
        starts = torch.tensor([round(s * 48_000 / 256) for s in u.starts[1:]])
        assert (ends[:-1] - starts).abs().max() <= 1


def test_baselines_differ_from_latentspeech_only_where_said():
    for name in BASELINES:
        mine, changed = baseline_preset(name, PRESETS["mini"]), name in ("fastspeech", "stylespeech")
        assert (mine == PRESETS["mini"]) is not changed
        assert replace(mine, encoder=PRESETS["mini"].encoder, diffusion=PRESETS["mini"].diffusion) == PRESETS["mini"]
    fast, style = (baseline_preset(n, PRESETS["mini"]).encoder for n in ("fastspeech", "stylespeech"))
    assert fast.style_blocks == 0 and replace(fast, style_blocks=style.style_blocks, rank=style.rank) == style
    with pytest.raises(BaselineError, match="mel_vocoder"):
        train_baseline("tacotron", TINY)


def test_long_utterances_are_left_out_by_seconds(corpus, mels):
    u = corpus.split("train")[0]
    example = baseline_example(u, torch.zeros(80, -(-round(u.seconds * 48_000) // 256)), corpus.speakers, 256)
    shorter = replace(TINY, train_voice=replace(TINY.train_voice, seconds=u.seconds - 0.1))
    with pytest.raises(RuntimeError, match="raise `seconds`"):
        BaselineTask("mel_diffusion", shorter, mels, [example], 2)
    assert BaselineTask("mel_diffusion",
                        replace(TINY, train_voice=replace(TINY.train_voice, seconds=u.seconds + 0.1)), mels,
                        [example], 2).examples


def test_every_baseline_is_stored_and_speaks(corpus, made):
    u = corpus.split("valid")[0]
    known = torch.tensor(frame_durations(u.starts, u.seconds))
    for name in BASELINES:
        card = load_weights(made / name, name)[1]
        assert {"sha256", "config", "corpus", "licence", "steps", "seed", "training_seconds", "machine"} <= card.keys()
        if name == "mel_vocoder":
            continue
        voice = load_baseline(name, made / name)
        said = voice.speak_phones([phones(u)], 0, u.speaker, [known])[0]
        assert len(said.audio) == 1024 * int(known.sum()) and torch.isfinite(said.audio).all()
        free = voice.speak_phones([front_end("天气很好"), front_end("好")], 0, "male")
        assert len(free) == 2
        assert all(torch.isfinite(s.audio).all() and len(s.audio) == voice.autoencoder.hop * s.latents.shape[1]
                   for s in free)


def test_a_stored_voice_is_the_trained_one(corpus, tmp_path):
    task = train_baseline("mel_diffusion", TINY, corpus, tmp_path, steps=3, device="cpu", progress=False).task.eval()
    own = Voice(task.preset, task.representation, task.encoder, task.denoiser, corpus.speakers)
    loaded = load_baseline("mel_diffusion", tmp_path)
    a, b = (voice.speak_phones([front_end("你好")], 3)[0].latents for voice in (own, loaded))
    torch.testing.assert_close(a, b, atol=2e-2, rtol=1e-2)   # stored in half precision


def test_whatever_decodes_is_a_representation(corpus):
    u = corpus.split("train")[0]
    for made in (MelRepresentation(), BandRepresentation(), untrained("latentspeech", TINY).autoencoder,
                 MelVocoder(vocoder_config(TINY.autoencoder))):
        assert isinstance(made, Representation)
        white = made.encode(corpus.audio(u)[None, None])
        assert made.decode(white).shape == (1, 1, made.hop * white.shape[2])


def test_syllables_lie_where_their_sound_is(made):
    """Durations are counted in the representation's own frames; the times of syllables are seconds for all."""
    for name in ("band_diffusion", "stylespeech"):
        speech, = load_baseline(name, made / name).speak_phones([front_end("今天天气很好")], 1, "male")
        ends = [b for _, _, b in speech.syllables]
        assert len(ends) == 6 and 0.3 * speech.seconds < ends[-1] <= speech.seconds + 1e-3


def test_a_batch_says_what_each_says_alone(made):
    voice = load_baseline("band_diffusion", made / "band_diffusion")
    sentences = [front_end("好"), front_end("今天天气很好")]
    for p, together in zip(sentences, voice.speak_phones(sentences, 5)):
        torch.testing.assert_close(together.latents, voice.speak_phones([p], 5)[0].latents, atol=1e-3, rtol=1e-3)


def test_a_killed_training_goes_on_bit_for_bit(corpus, tmp_path):
    few = type(corpus)(corpus.folder, corpus.name, corpus.split("train")[:6])
    options = dict(steps=4, batch=2, device="cpu", progress=False)
    whole = train_baseline("stylespeech", TINY, few, tmp_path / "whole", **options)
    train_baseline("stylespeech", TINY, few, tmp_path / "parts", callback=lambda run, terms: run.step == 2
                   and os.kill(os.getpid(), signal.SIGINT), **options)
    parts = train_baseline("stylespeech", TINY, few, tmp_path / "parts", **options)
    for k, v in whole.task.state_dict().items():
        assert torch.equal(v, parts.task.state_dict()[k]), k


def test_a_vocoder_of_other_mels_is_refused(made):
    assert isinstance(load_vocoder(made / "mel_vocoder"), MelVocoder)
    with pytest.raises(PretrainedError, match="another corpus"):
        load_vocoder(made / "mel_vocoder", MelRepresentation())
    with pytest.raises(PretrainedError, match="mel_vocoder"):
        load_vocoder("nowhere")


def test_the_vocoder_is_as_big_as_our_decoder_and_keeps_time():
    config = vocoder_config(PRESETS["mini"].autoencoder)
    vocoder, audio = MelVocoder(config).eval(), torch.randn(1, 1, 5000) * 0.1
    white = vocoder.encode(audio)
    with torch.no_grad():
        sound, bands, true, _ = vocoder.reconstruct(audio)
    assert vocoder.hop == 256
    assert white.shape == (1, 80, 20)
    assert sound.shape == audio.shape
    assert bands.shape == true.shape[:2] + (320,)
    with torch.no_grad():
        torch.testing.assert_close(vocoder.decode(white, chunk=7), vocoder.decode(white), atol=1e-5, rtol=1e-4)


def test_with_an_autoencoder_it_is_latentspeech():
    tts = LatentSpeech.from_pretrained("mini")
    voice = Voice(tts.preset, tts.autoencoder, tts.encoder, tts.denoiser, tts.speakers)
    sentences = [front_end("今天天气很好"), front_end("你好")]
    for a, b in zip(tts.speak_phones(sentences, 3, "male"), voice.speak_phones(sentences, 3, "male")):
        torch.testing.assert_close(a.latents, b.latents, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(a.audio, b.audio, atol=1e-5, rtol=1e-5)
    mine, theirs = cost(voice, 2), cost(tts, 2)      # LatentSpeech embeds the time of the end, too
    assert mine["macs"] <= theirs.pop("macs") < 1.01 * mine.pop("macs") and mine == theirs


def test_cost_counts_what_is_there():
    wider, voice = replace(TINY, encoder=replace(TINY.encoder, kernel=7)), untrained("stylespeech", TINY)
    e, counted = voice.preset.encoder, cost(voice, 2)
    assert counted["numbers"] == pytest.approx(80 * 187.5)
    assert cost(voice, 4)["macs"] > counted["macs"]   # attention grows with length
    used = [voice.encoder, voice.denoiser, untrained("stylespeech", TINY).autoencoder.fuse().decoder]
    assert counted["parameters"] == sum(p.numel() for part in used for p in part.parameters())
    # two convolutions a block, four taps more
    taps, phones, frames = 4 * 2 * e.width ** 2 * e.expansion, len(front_end("今天天气很好我们一起去公园吧" * 2)), 94
    more = taps * (4 * frames * e.frame_blocks + phones * (e.phone_blocks + e.style_blocks)) / (frames * 1024 / 48_000)
    assert cost(untrained("stylespeech", wider), 2)["macs"] - counted["macs"] == pytest.approx(more, rel=1e-6)


def test_the_recorded_table_is_whole():
    record = recorded(RECORD)
    assert record["split"] == "valid"
    ser = {r["row"]: r for r in record["rows"] if r["metric"].startswith("SER")}
    assert all(r["n"] == record["sentences"] >= 60 and r["low"] <= r["value"] <= r["high"] for r in ser.values())
    assert ser["natural"]["value"] < 0.02 and min(ser, key=lambda k: ser[k]["value"]) == "natural"
    assert (
        {"latentspeech"}
        < set(record["weights_sha256"])
        == set(record["steps"])
        <= set(BASELINES) | {"autoencoder", "latentspeech"}
    )
    mini = PRESETS["mini"]
    for name in ("latentspeech", "fastspeech"):
        assert cost(untrained(name, mini), 4) == pytest.approx(record["costs"][name], rel=1e-6)


def test_the_table_of_a_person_s_words_has_every_row():
    record = recorded(PEOPLE)
    assert record["split"] == "test" and record["speakers"] == ["tan"] and set(record["steps"]) == set(tool.PARTS)
    found = {(r["row"], r["metric"]): r for r in record["rows"]}
    for row in tool.systems(None, [], Path(), "mini"):
        assert found[row, "SER (in-house)"]["n"] == record["sentences"] >= 100, row
        assert row == "natural" or found[row, "MCD"]["n"] >= 24, row
    assert found["natural", "SER (in-house)"]["value"] < 0.1 < 0.9 < found["control: another text",
                                                                           "SER (in-house)"]["value"]


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not part of this repository")
def test_a_person_s_words_are_heard_as_recorded(tmp_path):
    """Rows that need no training, made again from two of the recordings, agree with the record word by word."""
    process = Fork(*COMMAND, "--corpus", RECORDINGS, "--speakers", "tan", "--split", "test", "--weights", "base",
                   "--limit", "2", "--n-distance", "0", "--folder", tmp_path, "--parts")
    assert process.wait(300) == 0, process.said()
    here, there = recorded(tmp_path / "table.json"), recorded(PEOPLE)
    assert here["judge_sha256"] == there["judge_sha256"] and here["shipped_sha256"] == there["shipped_sha256"]

    def errors(table, row):
        return next(r["errors"] for r in table["rows"]
                    if r["row"] == row and r["metric"] == "SER (in-house)").split()

    for row in ("natural", "latents, as shipped", "LatentSpeech, as shipped"):
        kept = errors(there, row)
        assert errors(here, row) == [kept[0], kept[len(kept) // 2]], row       # every 150th word of 300, every second


def test_sentences_are_taken_from_everywhere(corpus):

    def names(some):
        return [u.id for u in some]

    valid = corpus.split("valid")
    assert names(spread(valid[::-1], len(valid))) == names(spread(valid, 100)) == sorted(names(valid))
    assert names(spread(valid, 2)) == [sorted(names(valid))[i] for i in (0, len(valid) // 2)]
    assert len(spread(valid, 5)) == 5


@pytest.mark.parametrize("path", [RECORD, PEOPLE], ids=lambda path: path.stem)
def test_a_record_s_command_settles_the_steps_of_each_part(path):
    record = recorded(path)
    words = shlex.split(record["command"])
    settled = itertools.takewhile(lambda word: "=" in word, words[words.index("--steps") + 1:])
    assert {part: int(n) for part, n in (word.split("=") for word in settled)} == record["steps"]


def test_settled_steps_are_trained_whatever_the_clock_says(corpus, tmp_path):
    def train(*steps):
        return tool.paper_table(preset="tiny", parts=("mel_vocoder",), seconds=1e6, limit=0, folder=str(tmp_path),
                                steps=steps)
    assert train("mel_vocoder=2") == dict(steps=dict(mel_vocoder=2))
    assert load_weights(tmp_path / "mel_vocoder", "mel_vocoder")[1]["steps"] == 2
    with pytest.raises(ValueError, match="for 2 steps, not 3: remove it"):   # else a shorter training would pass for it
        train("mel_vocoder=3")
    for wrong in ("mel_vocoder", "mel_vocoder=0", "mel_vocoder=many", "autoencoder=2", "nothing=2"):
        with pytest.raises(ValueError, match=wrong.partition("=")[0]):
            train(wrong)


def test_an_unknown_speaker_is_refused(tmp_path):
    process = Fork(*COMMAND, "--preset", "tiny", "--speakers", "nobody", "--folder", tmp_path)
    said, told = process.communicate(timeout=120)
    assert process.returncode != 0 and "nobody" in told and "female, male" in told


def test_the_command_makes_a_table_at_small_scale(corpus, made):
    table, u = recorded(made / "table.json"), corpus.split("valid")[0]
    assert table["split_sha256"] == corpus.split_sha256("valid") and table["sentences"] == 1
    assert set(table["steps"]) == set(table["weights_sha256"]) == set(BASELINES) | {"autoencoder", "latentspeech",
                                                                                    "latentspeech_own"}
    heard = Judge.from_pretrained("mini").transcribe(corpus.audio(u))
    natural = [r["value"] for r in table["rows"] if (r["row"], r["metric"]) == ("natural", "SER (in-house)")]
    assert natural == [float(syllable_error_rate([u.pinyin], [heard]))]
