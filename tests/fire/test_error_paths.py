"""Ways out that the other tests don't take: a second interrupt, a recording that fails, a lock that can't be had."""
import errno, io, json, os, signal, sys, threading, types
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, soundfile, torch
from test_shards import write_folder
from test_training import CONFIG, digest, make_task
from latentspeech import corpora, files, shards, training, weights
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import CorpusConfig, TrainConfig
from latentspeech.corpora import CorpusError, Utterance, frame_durations, load_corpus, make_embedded_corpus
from latentspeech.latents import LatentError, entropy, latent_statistics, sparsity
from latentspeech.layouts import open_corpus
from latentspeech.training import TrainingError, fit, latest_checkpoint
from latentspeech.weights import PretrainedError, find_weights, load_weights, parse_address, save_tensors

QUIET = dict(device="cpu", progress=False)

# ---------------------------------------------------------------- training

def test_a_second_interrupt_ends_a_step_at_once_and_handlers_come_back(tmp_path):
    before, calls = signal.getsignal(signal.SIGINT), []
    def callback(run, terms):
        calls.append(run.step)
        if run.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(make_task(), replace(CONFIG, save_every=1), tmp_path, callback=callback, **QUIET)
    assert calls == [1, 2, 3] and latest_checkpoint(tmp_path)["step"] == 2
    assert signal.getsignal(signal.SIGINT) == before


def test_a_thread_trains_without_touching_signals(tmp_path):
    before, found = signal.getsignal(signal.SIGTERM), []
    def work():
        found.append(digest(fit(make_task(), CONFIG, tmp_path / "thread", **QUIET)))
        found.append(signal.getsignal(signal.SIGTERM))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [digest(fit(make_task(), CONFIG, tmp_path / "main", **QUIET)), before]


def test_a_graph_that_cannot_be_recorded_costs_nothing(tmp_path):
    "Without a GPU recording fails for real: the run goes on without, to the same bits."
    def callback(run, terms):
        run.graphable = run.step == 2 or run.graphable     # as on a GPU of its own
    with pytest.warns(UserWarning, match="no CUDA graph .*goes on without"):
        tried = fit(make_task(), CONFIG, tmp_path / "tried", callback=callback, **QUIET)
    assert not tried.graphable and digest(tried) == digest(fit(make_task(), CONFIG, tmp_path / "plain", **QUIET))


class Recorder:
    "Stand for a CUDA graph: recorded is nothing, replayed is the pass that was recorded."
    def replay(self):
        self.replayed()


@pytest.fixture
def cuda(monkeypatch):
    "A torch whose CUDA streams and graphs do nothing."
    stream = types.SimpleNamespace(wait_stream=lambda other: None)
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: stream)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda it: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorder)


def test_a_recorded_step_leaves_the_gradients_of_its_own_batch(cuda):
    task, plain = make_task(0.0), make_task(0.0)
    first, second = (task.batch(torch.Generator().manual_seed(seed), 4) for seed in (0, 1))
    graphed = training.Graphed(task, first)
    def again():
        task.zero_grad(set_to_none=True)
        graphed.loss, graphed.terms = task(graphed.batch)
        graphed.loss.backward()
    graphed.graph.replayed = again
    terms = graphed(second)
    loss, _ = plain(second)
    loss.backward()
    assert terms["loss"] == loss and terms["mse"] == loss and not terms["loss"].requires_grad
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(task.parameters(), plain.parameters()))
    with pytest.raises(FloatingPointError, match="loss is nan"):
        graphed({k: v * float("nan") for k, v in first.items()})


def test_a_graphed_run_draws_from_its_steps(cuda, tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed", seeds.append)
    class Counting(training.Graphed):
        def __init__(self, task, batch):
            super().__init__(task, batch)
            def again():
                task.zero_grad(set_to_none=True)
                self.loss, self.terms = task(self.batch)
                self.loss.backward()
            self.graph.replayed = again
    monkeypatch.setattr(training, "Graphed", Counting)
    def callback(run, terms):
        run.graphable = True
    run = fit(make_task(0.0), CONFIG, tmp_path, callback=callback, **QUIET)
    assert run.step == CONFIG.steps and len(set(seeds)) == len(seeds) == CONFIG.steps - 1


def test_memory_that_suffices_for_no_example_ends_the_run(tmp_path):
    task = make_task()
    def forward(batch):
        raise torch.OutOfMemoryError("none left")
    task.forward = forward
    with pytest.warns(UserWarning, match="tried again in 8 slices"), pytest.raises(torch.OutOfMemoryError):
        fit(task, CONFIG, tmp_path, **QUIET)


def test_progress_that_cannot_be_written_ends_nothing(tmp_path):
    (tmp_path / "progress.json").mkdir()
    assert fit(make_task(), CONFIG, tmp_path, **QUIET).step == CONFIG.steps


def test_rates_follow_their_schedules():
    noam = TrainConfig(schedule="noam", warmup=4, noam_width=16)
    rates = [training.learning_rate(noam, step, 0.0) for step in range(20)]
    assert rates.index(max(rates)) == 3 and rates[3] == pytest.approx(16 ** -0.5 * 4 ** -0.5)
    flat = TrainConfig(schedule="constant", warmup=4, learning_rate=0.1)
    assert [training.learning_rate(flat, step, 0.9) for step in (0, 3, 99)] == pytest.approx([0.025, 0.1, 0.1])


def test_counts_are_copied_where_weights_are_averaged():
    norm = torch.nn.BatchNorm1d(2)
    average = training.Average(norm, 0.9)
    norm(torch.randn(4, 2))
    average.update(norm, 100)
    assert average.values["num_batches_tracked"] == 1 and not torch.equal(average.values["running_mean"],
                                                                          norm.running_mean)


def test_a_gpu_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Abacus 1")
    assert training.describe_machine("cuda").startswith("one Abacus 1, torch ")


def test_the_curve_of_a_run_is_drawn(tmp_path):
    run = fit(make_task(), CONFIG, tmp_path, **QUIET)
    axes = training.show_history(run.history, ["loss", "mse"])
    assert [line.get_label() for line in axes.lines] == ["loss", "mse"]
    assert len(axes.lines[0].get_ydata()) == CONFIG.steps

# ---------------------------------------------------------------- weights

def write_set(folder, value, name="x-voice"):
    return save_tensors(folder / name, {"w": torch.full((4,), float(value))}, dict(value=value))


@pytest.mark.parametrize("vouched, found", [("new", 2), ("old", 1), ("garbage", 1)])
def test_what_a_killed_writer_left_is_finished_only_where_the_card_vouches_for_it(tmp_path, vouched, found):
    new = write_set(tmp_path / "new", 2)
    old = write_set(tmp_path / "old", 1)
    pending = old.with_name(f".{old.name}.pending")
    pending.write_bytes(new.read_bytes())
    if vouched == "new":
        old.with_suffix(".json").write_bytes(new.with_suffix(".json").read_bytes())
    if vouched == "garbage":
        (tmp_path / "old/.y-voice.safetensors.pending").write_bytes(b"x")
    for address in (old, old.parent):
        assert load_weights(address, "voice")[0]["w"][0] == found


def test_a_folder_that_holds_none_or_two_is_refused(tmp_path):
    with pytest.raises(PretrainedError, match="holds 0 sets of voice"):
        find_weights(tmp_path, "voice")
    write_set(tmp_path, 1)
    assert find_weights(tmp_path, "voice").name == "x-voice.safetensors"
    write_set(tmp_path, 1, "voice")
    with pytest.raises(PretrainedError, match="holds 2 sets of voice"):
        find_weights(tmp_path, "voice")


@pytest.mark.parametrize("name, hint", [("nowhere.safetensors", ""), ("user/name", "is written hf://user/name")])
def test_what_is_not_there_says_what_makes_it(name, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PretrainedError, match="make weights") as found:
        find_weights(name, "voice")
    assert hint in str(found.value) and ("hub" in str(found.value)) == bool(hint)


@pytest.mark.parametrize("address", ["hf://", "hf://alone", "hf://a/../b", "hf://a/b@x y", "https://a/b"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(PretrainedError, match="no address on a hub"):
        parse_address(address)


def test_a_hub_gives_its_folder_or_one_line(tmp_path, monkeypatch):
    write_set(tmp_path, 3)
    asked = []
    def snapshot(repository, revision, allow_patterns):
        asked.append((repository, revision))
        if repository == "a/gone":
            raise ConnectionError("404")
        return str(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot))
    assert load_weights("hf://a/voice@v1", "voice")[1]["value"] == 3
    with pytest.raises(PretrainedError, match="no voice weights at 'hf://a/gone': 404"):
        find_weights("hf://a/gone", "voice")
    assert asked == [("a/voice", "v1"), ("a/gone", None)]


def test_a_card_that_vouches_for_no_tensors_is_typed(tmp_path):
    file = weights.store_weights(tmp_path / "x-voice.safetensors", b"no tensors", {})
    with pytest.raises(PretrainedError, match="holds no tensors"):
        load_weights(file, "voice")
    file.with_suffix(".json").unlink()
    with pytest.raises(PretrainedError, match="no readable card"):
        load_weights(file, "voice")


def test_what_goes_wrong_while_a_network_is_built_is_typed():
    with pytest.raises(PretrainedError, match="'x' don't fit their card: KeyError"), weights.fitting("x"):
        {}["gone"]
    with pytest.raises(PretrainedError, match="^told already$"), weights.fitting("x"):
        raise PretrainedError("told already")
    with weights.fitting("x"):
        pass

# ---------------------------------------------------------------- files

def test_a_lock_that_the_disk_does_not_know_is_an_error(tmp_path, monkeypatch):
    "As on some network disks: neither held nor free."
    def flock(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    monkeypatch.setattr(files, "fcntl", types.SimpleNamespace(flock=flock, LOCK_EX=2, LOCK_NB=4))
    with pytest.raises(OSError, match="No locks"), files.folder_lock(tmp_path):
        pass
    with pytest.raises(TrainingError, match="cannot write to"):
        fit(make_task(), CONFIG, tmp_path / "run", **QUIET)


def test_a_draft_that_another_writer_renamed_is_not_this_ones(tmp_path, monkeypatch):
    "Between opening and locking, the writer that was waited for gave the draft its name: a new draft is begun."
    real, waits = files.fcntl, []
    def flock(file, how):
        if how == real.LOCK_EX and not waits:
            waits.append(1)
            os.replace(tmp_path / ".a.txt.draft", tmp_path / "a.txt")
        return real.flock(file, how)
    monkeypatch.setattr(files, "fcntl", types.SimpleNamespace(flock=flock, LOCK_EX=real.LOCK_EX, LOCK_NB=real.LOCK_NB))
    files.write_atomically(tmp_path / "a.txt", b"mine")
    assert waits and (tmp_path / "a.txt").read_bytes() == b"mine" and os.listdir(tmp_path) == ["a.txt"]


def test_a_rename_that_windows_refuses_leaves_the_old_file(tmp_path, monkeypatch):
    files.write_atomically(tmp_path / "a.txt", b"old")
    monkeypatch.setattr(files, "WINDOWS", True)
    def replace(a, b):
        raise PermissionError(errno.EACCES, "open in another program")
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(PermissionError):
        files.write_atomically(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"old" and os.listdir(tmp_path) == ["a.txt"]


def test_an_extra_that_is_there_is_imported_and_a_missing_one_named():
    assert files.required("json", "nothing") is json
    with pytest.raises(files.MissingExtra, match="pip install some-extra"):
        files.required("no_such_module_anywhere", "some-extra")

# ---------------------------------------------------------------- latents

def test_nothing_to_measure_is_said():
    for wrong in (torch.zeros(3), torch.ones(1)):
        with pytest.raises(LatentError, match="two numbers"):
            sparsity(wrong)
    with pytest.raises(LatentError, match="no latents"):
        latent_statistics([])
    assert entropy(torch.randn(2, 4000)) > 4

# ---------------------------------------------------------------- corpora

GOOD = dict(id="a", text="你", pinyin=["ni3"], speaker="s", split="train", path=Path("a.wav"), seconds=1.0,
            symbols=["sil", "n", "i"], tones=[0, 0, 3], starts=[0.0, 0.2, 0.4])
WRONG = dict(text=dict(text=5), pinyin=dict(pinyin=[5]), starts=dict(starts="no"), bool=dict(seconds=True),
             seconds=dict(seconds="1"), id=dict(id="a/b"), split=dict(split="all"), never=dict(seconds=0.0),
             endless=dict(seconds=1e12), lengths=dict(tones=[0]), back=dict(starts=[0.0, 0.5, 0.4]),
             beyond=dict(starts=[0.0, 0.5, 1.5]), member=dict(member=[1, 2, 3]), before=dict(member=[-1, 5]),
             huge=dict(member=[0, 10 ** 15]))


@pytest.mark.parametrize("name", WRONG)
def test_an_utterance_that_contradicts_itself_is_refused(name):
    assert Utterance(**GOOD).check().end == 1.0
    with pytest.raises(ValueError):
        Utterance(**GOOD | WRONG[name]).check()


def test_names_that_could_lead_out_are_refused():
    for name in (5, "", "a/b", "..", "a..b", "x" * 300):
        with pytest.raises(CorpusError, match="no name for a corpus"):
            corpora.check_name(name)
    assert corpora.plain_name("../..") == "corpus"


def in_archive(tmp_path, data: bytes, member=None):
    "An utterance whose sound lies somewhere in a file."
    file = tmp_path / "a.tar"
    file.write_bytes(b"x" * 512 + data)
    u = Utterance(**GOOD | dict(path=file, member=member or (512, len(data))))
    return corpora.Corpus(tmp_path, "c", [u]), u


def sound_bytes(rate=48_000, value=0.1, subtype="PCM_16", kind="WAV"):
    soundfile.write(kept := io.BytesIO(), np.full(rate, value, np.float32), rate, subtype, format=kind)
    return kept.getvalue()


def test_a_part_of_a_packed_sound_is_read_at_any_rate_or_refused(tmp_path):
    corpus, u = in_archive(tmp_path, sound_bytes())
    assert len(corpus.audio_part(u, 100, 50)) == 50
    corpus, u = in_archive(tmp_path, sound_bytes(16_000))
    assert len(corpus.audio_part(u, 47_990, 50)) == 10
    corpus, u = in_archive(tmp_path, b"no sound at all")
    for read in (corpus.audio, lambda u: corpus.audio_part(u, 0, 5)):
        with pytest.raises(CorpusError, match="is no sound"):
            read(u)
    corpus, u = in_archive(tmp_path, sound_bytes(), (512, 10 ** 7))
    with pytest.raises(CorpusError, match="fetch it again"):
        corpus.audio(u)
    corpus, u = in_archive(tmp_path, sound_bytes(value=np.nan, subtype="FLOAT"))
    with pytest.raises(CorpusError, match="NaN|infinite"):
        corpus.audio(u)


def test_sounds_that_are_gone_or_others_are_listed(tmp_path):
    corpus, u = in_archive(tmp_path, sound_bytes())
    assert corpus.verify() == []                                     # no hash is kept: it is there
    u.sha256 = corpus.sound_sha256(u)
    assert corpus.verify() == [] and corpus.sound_sha256(u) == u.sha256
    u.sha256 = "0" * 64
    assert corpus.verify() == ["a"]
    u.sha256, u.member = "x", (0, 10 ** 7)
    assert corpus.verify() == ["a"]
    u.path.unlink()
    assert corpus.verify() == ["a"]
    u.sha256 = ""
    with pytest.raises(CorpusError, match="can't be read"):
        corpus.sound_sha256(u)


def test_more_phones_than_frames_are_refused():
    with pytest.raises(CorpusError, match="do not fit"):
        frame_durations([0.0, 0.01, 0.02], 0.02)
    assert frame_durations([0.0, 0.001, 0.002, 0.003], 0.1)[:3] == [1, 1, 1]
    assert min(frame_durations([0.0, 0.098, 0.099, 0.0995], 0.1)) == 1


def test_sizes_that_leave_nothing_are_refused():
    with pytest.raises(CorpusError, match="leave -1 to train on"):
        corpora.plan_corpus(CorpusConfig(utterances=9, valid=5, test=5))
    with pytest.raises(CorpusError, match="ask for fewer"):
        corpora.make_sentences(1, shortest=60, longest=61)


def test_text_files_say_where_they_are_wrong(tmp_path):
    with pytest.raises(CorpusError, match="can't be read"):
        corpora.read_lines(tmp_path)
    (tmp_path / "t.txt").write_bytes(b"good\n\xff\xfe\n")
    with pytest.raises(CorpusError, match="line 2 isn't UTF-8"):
        corpora.read_lines(tmp_path / "t.txt")


MANIFEST = dict(name="x", recipe="r", utterances=[{**GOOD, "path": "audio/a.flac"}])


@pytest.mark.parametrize("change, says", [
    (dict(utterances=[{**GOOD, "path": "../a.flac"}]), "path"),
    (dict(utterances=[{**GOOD, "path": "audio/a.flac", "member": [0, 5]}]), "path"),
    (dict(utterances=MANIFEST["utterances"] * 2), "again"), (dict(utterances=5), "TypeError"),
    (dict(name="../x"), "name"), (None, "line 1")])
def test_a_manifest_that_is_damaged_says_where(change, says, tmp_path):
    file = tmp_path / "manifest.json"
    file.write_text("{" if change is None else json.dumps(MANIFEST, default=str), "utf8")
    if change is not None:
        assert len(load_corpus(tmp_path)) == 1
        file.write_text(json.dumps(MANIFEST | change, default=str), "utf8")
    with pytest.raises(CorpusError, match=says):
        load_corpus(tmp_path)


def test_folders_that_are_no_corpus_say_so(tmp_path):
    for folder in (tmp_path / "gone", tmp_path):
        with pytest.raises(CorpusError, match="no folder|no manifest.json"):
            load_corpus(folder)
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(CorpusError, match="holds something else"):
        make_embedded_corpus(tmp_path, CorpusConfig(utterances=6, valid=1, test=1), progress=False)


JOBS = [dict(id="train-00000", split="train", text="你", tokens=["ni3"], speaker="female", speed=200, pitch=50,
             silence=(0.1, 0.1), seed=1)]


@pytest.mark.parametrize("fault, says", [("none", ""), ("dies", "process failed"), ("unknown", "process failed")])
def test_a_maker_aside_gives_rows_or_its_last_words(fault, says, tmp_path, monkeypatch):
    (tmp_path / "audio").mkdir()
    bar, jobs = types.SimpleNamespace(update=lambda: None), JOBS
    if fault == "dies":   # before it reads what it shall do
        monkeypatch.setattr(corpora.sys, "executable", "/bin/false")
        jobs = JOBS * 5000
    if fault == "unknown":
        jobs = [dict(JOBS[0], speaker="nobody")]
    if not says:
        assert corpora.make_aside(jobs, tmp_path, bar)[0]["id"] == "train-00000"
        return
    with pytest.raises(CorpusError, match=says):
        corpora.make_aside(jobs, tmp_path, bar)


def test_what_a_purpose_needs_is_named(tmp_path):
    def corpus(**facts):
        return corpora.Corpus(tmp_path, "c", [Utterance(**GOOD | facts)])
    assert corpus().require("voice") and corpus(pinyin=[], symbols=[], tones=[], starts=None).require("autoencoder")
    with pytest.raises(CorpusError, match="prepare --align"):
        corpus(starts=None).require("voice")
    with pytest.raises(CorpusError, match="no utterance whose text can be said"):
        corpus(pinyin=[]).require("judge")
    with pytest.raises(CorpusError, match="has nothing in test"):
        corpus().require("evaluation", "test")

# ---------------------------------------------------------------- shards

@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    root = tmp_path_factory.mktemp("packed")
    corpus = open_corpus(write_folder(root / "c"))
    return shards.prepare(corpus, root / "s", size=20, progress=False)


def test_what_no_voice_should_learn_from_is_refused():
    def problem(audio, **facts):
        with pytest.raises(CorpusError) as found:
            shards.check_sound(Utterance(**GOOD | facts), audio)
        return str(found.value)
    noise = 0.1 * torch.randn(48_000)
    assert "silent" in problem(torch.zeros(48_000)) and "too short" in problem(noise[:1000], starts=None)
    assert "too long" in problem(noise.repeat(9)) and "beyond its end" in problem(noise[:15_000])
    assert "clipped" in shards.check_sound(Utterance(**GOOD | dict(starts=None)), noise.sign())[0]


@pytest.mark.parametrize("fault, says", [
    ("cut", "cut short|no shard"), ("garbage", "no shard"), ("stranger", "belongs in no shard"),
    ("two labels", "has no sound"), ("last sound gone", "has no sound"), ("other sound", "not the sound"),
    ("labels", "damaged in")])
def test_a_damaged_stream_is_refused(packed, fault, says, tmp_path):
    import tarfile
    shard = next(packed.folder.glob("train-*.tar"))
    with tarfile.open(shard) as tar:
        members = [(m.name, tar.extractfile(m).read()) for m in tar]
    changed = {"two labels": [members[0], *members[2:]], "last sound gone": members[:-1],
               "other sound": [members[0], (members[1][0], members[3][1]), *members[2:]],
               "labels": [(members[0][0], b"{"), *members[1:]], "stranger": [("x.txt", b"x"), *members]}
    data = shard.read_bytes()
    if fault in changed:
        with tarfile.open(fileobj=(kept := io.BytesIO()), mode="w") as tar:
            for name, content in changed[fault]:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        data = kept.getvalue()
    bad = tmp_path / "bad.tar"
    bad.write_bytes({"cut": data[:len(data) // 2], "garbage": b"garbage" * 500}.get(fault, data))
    with pytest.raises(CorpusError, match=says):
        list(shards.stream_shards([bad]))


def test_streams_are_mixed_by_their_seed(packed):
    def ids(**how):
        return [u.id for u, _ in shards.stream_shards(sorted(packed.folder.glob("*.tar")), **how)]
    plain, mixed = ids(), ids(shuffle=4, seed=1)
    assert plain != mixed == ids(shuffle=4, seed=1) and sorted(plain) == sorted(mixed)


def test_what_is_kept_of_an_alignment_is_used_only_where_it_is_whole(tmp_path):
    file, good = tmp_path / "alignment.json", dict(recipe="r", report=[], labels={"a": [["sil"], [0], [0.0]]})
    for text in ("", "[]", json.dumps(good | dict(labels=5)), json.dumps(good | dict(recipe="other"))):
        file.write_text(text)
        assert shards.kept_alignment(file, "r") is None
    file.write_text(json.dumps(good))
    assert shards.kept_alignment(file, "r") == good


def test_a_page_shows_what_is_wrong(packed, capsys, monkeypatch):
    monkeypatch.setattr(packed, "audio", lambda u: torch.zeros(48_000), raising=False)
    shards.show_page(packed, packed[0])
    assert "is silent" in capsys.readouterr().out
