"""The command line: wiring, one-line errors, exit codes."""
import json, os, re, shutil, subprocess, sys, types
from pathlib import Path
import pytest, torch
from latentspeech import cli
from latentspeech.audio import save
from latentspeech.cli import main
from latentspeech.config import PRESETS
from latentspeech.corpora import make_embedded_corpus
from latentspeech.judge import Judge, train_judge
from latentspeech.weights import PretrainedError

COMMANDS = ("prepare", "train", "speak", "voices", "serve", "evaluate", "experiment", "export", "bench", "doctor",
            "completion")


def shell(*words, **env):
    "Run `latentspeech` in a process of its own."
    root = str(Path(cli.__file__).parent.parent)
    return subprocess.run([sys.executable, "-m", "latentspeech.cli", *words], capture_output=True, text=True,
                          timeout=120, env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", **env})


def refused(capsys, *words):
    "Run a command that must fail: code 2, nothing on stdout, one typed line on stderr; return the line."
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    line, = err.strip().splitlines()
    assert out == "" and re.match(r"\w+: ", line) and "Traceback" not in line
    return line


def test_help_imports_neither_torch_nor_matplotlib():
    result = shell("--help")
    assert result.returncode == 0 and all(c in result.stdout for c in COMMANDS)
    code = ("import sys\nfrom latentspeech.cli import main\ntry: main(['--help'])\nexcept SystemExit: "
            "pass\nassert 'torch' not in sys.modules and 'matplotlib' not in sys.modules")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True,
                          cwd=Path(cli.__file__).parent.parent).returncode == 0


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "experiment"])
def test_every_command_explains_every_option(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0 and "--json" in text
    assert not re.search(r"^  --[\w-]+( [A-Z_]+)?$\n(?= +-|\Z)", text, re.M), "an option without help"


def test_experiments_are_listed_and_each_explains_its_options(capsys):
    from latentspeech.experiments.harness import EXPERIMENTS
    for words in (["--help"], ["no-such-experiment"], *([name, "--help"] for name in EXPERIMENTS)):
        with pytest.raises(SystemExit) as stopped:
            main(["experiment", *words])
        said = capsys.readouterr()
        assert stopped.value.code == (2 if words == ["no-such-experiment"] else 0), said.err
        assert "Traceback" not in said.err
        if words == ["--help"]:
            assert all(re.search(rf"^ +{name} ", said.out, re.M) for name in EXPERIMENTS)
        elif words[-1] == "--help":
            silent = re.findall(r"^  (--[\w-]+)(?: [A-Z_]+)?(?: +\[.*\])?$\n(?= +-|\Z)", said.out, re.M)
            assert "--json" in said.out and not silent, f"{words[0]}: options without help: {silent}"
    with pytest.raises(ValueError, match="no experiment"):
        cli.experiment("no-such-experiment")


@pytest.mark.parametrize("words", [[], ["sing"], ["train", "--minutes", "soon"], ["bench", "--no-such"],
                                   ["train", "nose"], ["completion", "cmd"]])
def test_usage_errors_exit_with_2(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2 and "Traceback" not in capsys.readouterr().err


def test_a_folder_that_is_no_corpus(tmp_path, capsys):
    assert "CorpusError" in refused(capsys, "prepare", str(tmp_path / "nowhere"))
    (tmp_path / "manifest.json").write_text("{}")
    assert "CorpusError" in refused(capsys, "prepare", str(tmp_path))
    assert "ConfigError" in refused(capsys, "prepare", "--preset", "enormous")
    assert "CorpusError" in refused(capsys, "evaluate", "--corpus", str(tmp_path / "nowhere"))


def test_bad_values_are_one_line(capsys):
    refused(capsys, "bench", "--seconds", "0")
    refused(capsys, "train", "--from", "memory")
    assert "tiny" in refused(capsys, "bench", "--preset", "enormous")


def test_each_part_starts_where_it_was_told_to(monkeypatch, tmp_path, capsys):
    asked = {}
    monkeypatch.setattr(cli, "train_part", lambda part, *_, warm_start, **__: asked.update({part: warm_start}))
    whole = type("Speech", (), dict(require=lambda self, part: None))()
    monkeypatch.setattr(cli, "open_corpora", lambda *_: whole)
    for part in ("judge", "autoencoder", "decoder", "voice"):
        cli.train(part, preset="tiny", from_="mini")
        assert asked.pop(part) == "mini" and not asked
        assert f"0 sets of {'autoencoder' if part == 'decoder' else part} weights" in refused(capsys, "train", part,
                                                                                              "--from", str(tmp_path))
    cli.train(preset="base", from_="mini")
    assert asked == dict(judge=None, autoencoder="mini", decoder=None, voice="mini")
    for name in ("pretrained", "base"):
        cli.train(preset="base", from_=name)
        assert asked == dict(judge="base", autoencoder="base", decoder=None, voice="base"), name


def test_a_judge_goes_on_from_another_of_its_own_sizes(tmp_path):
    corpus, steps = make_embedded_corpus(config=PRESETS["tiny"].corpus), dict(steps=1, progress=False)
    first = train_judge("tiny", corpus, tmp_path / "a", **steps)
    train_judge("tiny", corpus, tmp_path / "b", warm_start=str(tmp_path / "a"), **steps)
    a, b = (Judge.from_pretrained(tmp_path / name) for name in "ab")
    assert b.card["went_on_from"]["sha256"] == a.card["sha256"] and first.step == 1
    near, far = ((next(iter(b.parameters())) - next(iter(j.parameters()))).abs().mean()
                 for j in (a, Judge(PRESETS["tiny"].judge)))
    assert near < far / 10
    with pytest.raises(PretrainedError, match="other sizes"):
        train_judge("tiny", corpus, tmp_path / "c", warm_start="base", **steps)


def test_evaluate_takes_as_long_as_it_is_asked_to(monkeypatch, capsys, tmp_path):
    tiny = make_embedded_corpus(config=PRESETS["tiny"].corpus)
    monkeypatch.setattr(cli, "open_corpora", lambda *_: tiny)
    quick = cli.evaluate(preset="mini", limit=2, seeds=1, distances=0)
    assert {r["metric"] for r in quick["rows"]} == {"SER (in-house)", "tone error"}
    assert "reconstruction" in {r["row"] for r in quick["rows"]}
    assert quick["command"] == "latentspeech evaluate --preset mini --seed 0 --limit 2 --seeds 1 --distances 0"
    whole = cli.evaluate(preset="mini", limit=2, seeds=1, distances=1)
    values = {(r["row"], r["metric"]): r["value"] for r in whole["rows"]}
    assert all(values[r["row"], r["metric"]] == r["value"] for r in quick["rows"])
    assert len(whole["rows"]) > len(quick["rows"])
    capsys.readouterr()
    for wrong in ("--seeds 0", "--limit -1", "--distances -1"):
        assert "--seeds is 1 or more" in refused(capsys, "evaluate", *wrong.split())


def test_no_traceback_reaches_a_shell():
    result = shell("prepare", "/no/such/folder")
    assert (result.returncode, result.stdout) == (2, "") and len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" in shell("prepare", "/no/such/folder", LATENTSPEECH_DEBUG="1").stderr


@pytest.fixture
def voice(monkeypatch):
    "Put a voice that needs no weights in the place of the real one; note what it is asked."
    asked = {}

    class Voice:
        @classmethod
        def from_pretrained(cls, name, device="cpu"):
            asked.update(name=name, device=device)
            return cls()
        def speak_to(self, path, text, **how):
            if not text.strip():
                raise ValueError("there is nothing to say")
            asked.update(text=text, **how)
            save(path, torch.zeros(4800))
            return dict(path=str(path), seconds=0.1, syllables=[("ni2", 0.0, 0.05), ("hao3", 0.05, 0.1)], warnings=[])

    class Judge:
        @classmethod
        def from_pretrained(cls, name):
            return cls()
        def transcribe(self, audio, sample_rate):
            return ["ni2", "hao4"]

    monkeypatch.setitem(sys.modules, "latentspeech.synthesis", types.SimpleNamespace(LatentSpeech=Voice))
    monkeypatch.setitem(sys.modules, "latentspeech.judge", types.SimpleNamespace(Judge=Judge))
    return asked


def test_speak_passes_on_what_it_was_told(voice, tmp_path, capsys):
    out = tmp_path / "new" / "a.wav"
    assert main(["speak", "你好", "--out", str(out), "--n-steps", "4", "--seed", "7", "--pace", "1.5", "--judge",
                 "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert out.exists()
    assert said["path"] == str(out)
    assert said["pinyin"] == ["ni2", "hao3"]
    assert said["heard"] == ["ni2", "hao4"]
    assert voice == dict(name="mini", device="cpu", text="你好", n_steps=4, seed=7, speaker=None, pace=1.5)


def test_speak_in_words_and_with_nothing_to_say(voice, tmp_path, capsys):
    assert main(["speak", "你好", "-o", str(tmp_path / "a.wav")]) == 0
    assert "pinyin: ni2 hao3" in capsys.readouterr().out
    assert "nothing to say" in refused(capsys, "speak", " ", "--out", str(tmp_path / "b.wav"))
    assert not (tmp_path / "b.wav").exists()


def test_train_makes_all_parts_and_they_speak(monkeypatch, tmp_path, capsys):
    """The real commands, with the smallest preset: weights, cards, and a voice that loads them."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--preset", "tiny", "--steps", "3", "--out", "weights", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert list(done) == ["judge", "autoencoder", "voice"] and {d["steps"] for d in done.values()} == {3}
    assert main(["train", "voice", "--preset", "tiny", "--steps", "5", "--out", "weights", "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["voice"]["steps"] == 5
    from latentspeech.synthesis import LatentSpeech
    assert len(LatentSpeech.from_pretrained("weights").speak("你好").audio) > 0
    def cached():
        return {path: path.stat().st_mtime_ns for path in Path("out/train/tiny/voice/latents").iterdir()}
    latents = cached()
    assert main(["train", "voice", "--preset", "tiny", "--steps", "1", "--out", "weights", "--json"]) == 0
    kept = Path("out/train/tiny/voice-before-1")
    assert str(kept) in capsys.readouterr().err and (kept / "step-00000005.pt").exists()
    assert cached() == latents and not (kept / "latents").exists()   # read, not encoded once more
    with pytest.raises(ValueError, match="no part"):
        cli.train("nose", preset="tiny")


@pytest.mark.parametrize("stopped", ("early", "late"))
def test_a_new_run_finds_the_latents_of_the_one_before(tmp_path, capsys, stopped):
    "A run that has checkpoints is kept beside it, one that has none is removed: either way its latents stay."
    folder = tmp_path / "voice"
    cli.set_aside(folder)                # nothing there yet
    (folder / "latents").mkdir(parents=True)
    (folder / "latents/latents-1.safetensors").write_text("minutes of work")
    (folder / "tensorboard").mkdir()
    (folder / "history.jsonl").touch()
    if stopped == "late":
        (folder / "step-00000100.json").touch()
    cli.set_aside(folder)
    assert [str(path.relative_to(folder)) for path in folder.rglob("*")] == [
        "latents", str(Path("latents/latents-1.safetensors"))]
    assert ("voice-before-1" in capsys.readouterr().err) == (stopped == "late")
    kept = {path.name for path in tmp_path.glob("voice-before-1/*")}
    assert kept == ({"tensorboard", "history.jsonl", "step-00000100.json"} if stopped == "late" else set())


def test_choices_are_in_the_help(capsys):
    for command, choices in dict(train="{all,judge,autoencoder,decoder,voice}", completion="{bash,zsh,fish}").items():
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert choices in capsys.readouterr().out


def test_where_a_text_comes_from(voice, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, encoding in (("a.txt", "utf8"), ("b.txt", "utf-8-sig"), ("c.txt", "gb18030")):
        Path(name).write_bytes("你好".encode(encoding))
        assert main(["speak", "-f", name, "-q"]) == 0 and voice["text"] == "你好"
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=open(name, "rb")))
        voice.clear()
        assert main(["speak", "-", "-q"]) == 0 and voice["text"] == "你好"
    assert capsys.readouterr() == ("", "")
    Path("program").write_bytes(bytes(range(256)))
    assert "speak -f a.txt" in refused(capsys, "speak", "a.txt")
    assert "program is not text" in refused(capsys, "speak", "-f", "program")
    assert "one of" in refused(capsys, "speak")
    assert "one of" in refused(capsys, "speak", "你好", "-f", "a.txt")
    assert "--raw" in refused(capsys, "speak", "你好", "--raw")
    assert "-o -" in refused(capsys, "speak", "你好", "-o", "-", "--judge")
    novel = "今天天气很好。" * 8000          # 168 kB: more than a shell takes in one word
    Path("novel.txt").write_text(novel, "utf8")
    assert main(["speak", "-f", "novel.txt", "-q"]) == 0 and voice["text"] == novel


def test_a_player_is_found_or_asked_for(voice, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli.shutil, "which", lambda name: None)
    assert "install one of aplay" in refused(capsys, "speak", "你好", "--play", "-o", str(tmp_path / "a.wav"))
    assert not voice                                                      # asked before anything was spoken
    noted = tmp_path / "played"
    player = tmp_path / "afplay"
    player.write_text(f"#!/bin/sh\necho \"$1\" > {noted}\n")
    player.chmod(0o755)
    monkeypatch.setattr(cli.shutil, "which", lambda name: str(player) if name == "afplay" else None)
    assert main(["speak", "你好", "--play", "-o", str(tmp_path / "a.wav")]) == 0
    assert noted.read_text().strip() == str(tmp_path / "a.wav") and capsys.readouterr().out
    player.write_text("#!/bin/sh\nexit 3\n")
    assert "could not play" in refused(capsys, "speak", "你好", "--play", "-o", str(tmp_path / "a.wav"))


def test_voices_are_listed_from_their_cards(tmp_path, capsys):
    assert main(["voices", "--json"]) == 0
    rows = {r["preset"]: r for r in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["mini"]["speakers"] == ["female", "male"] and rows["mini"]["licence"].startswith("Apache-2.0")
    assert 15 < rows["mini"]["megabytes"] < 17 and "CC BY-SA" in rows["base"]["licence"]
    shipped = Path(cli.__file__).parent / "pretrained"
    shutil.copy(shipped / "mini-voice.json", tmp_path / "voice.json")
    (tmp_path / "voice.safetensors").write_bytes(bytes(2_000_000))
    assert main(["voices", str(tmp_path), "--json"]) == 0
    mine = json.loads(capsys.readouterr().out)["rows"][-1]
    assert (mine["preset"], mine["megabytes"]) == (str(tmp_path), 2.0)
    (tmp_path / "empty").mkdir()
    assert "holds no voice" in refused(capsys, "voices", str(tmp_path / "empty"))
    for wrong in ("", "[" * 100_000, "[]", '{"speakers": []}'):
        (tmp_path / "voice.json").write_text(wrong)
        assert "voice.json is no card of a voice" in refused(capsys, "voices", str(tmp_path))


def test_export_writes_networks_that_others_can_run(tmp_path, capsys):
    assert "--onnx FOLDER" in refused(capsys, "export")
    pytest.importorskip("onnxscript", reason="onnx extra")
    assert main(["export", "--onnx", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [r["network"] for r in rows] == ["prepare", "denoise",
                                            "decode"] and all(Path(r["file"]).exists() for r in rows)


def test_what_is_missing_comes_with_its_extra(monkeypatch, capsys):
    def gone(*given, **more):
        raise ImportError("No module named 'pesq'", name="pesq")
    monkeypatch.setattr(cli, "open_corpora", gone)
    assert "pip install 'latentspeech[eval]'" in refused(capsys, "prepare")


LOOK = """
import os, sys
from latentspeech import cli
def look():
    "Look."
    before = "torch" in sys.modules
    import torch
    return dict(before=before, threads=torch.get_num_threads(), spin=os.environ["GOMP_SPINCOUNT"])
cli.look, cli.COMMANDS = look, ("latentspeech.cli:look",)
sys.exit(cli.main(["look", "--json", "--threads", "1"]))
"""


def test_threads_are_set_before_torch_is_loaded(tmp_path):
    (tmp_path / "look.py").write_text(LOOK)
    env = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_NUM_THREADS")}
    found = subprocess.run([sys.executable, tmp_path / "look.py"], capture_output=True, text=True, timeout=120,
                           env={**env, "PYTHONPATH": str(Path(cli.__file__).parent.parent)})
    assert json.loads(found.stdout or "{}") == dict(before=False, threads=1, spin=cli.SPIN), found.stderr


def test_a_negative_count_of_threads_is_refused(capsys):
    assert "--threads" in refused(capsys, "voices", "--threads", "-1")


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_completes_commands_and_options():
    script = cli.completion("bash")["text"]
    def complete(*words):
        line = (f"{script}\nCOMP_WORDS=({' '.join(words)} ''); COMP_CWORD={len(words)}; _latentspeech; echo "
                f"${{COMPREPLY[@]}}")
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout.split()
    assert set(COMMANDS) <= set(complete("latentspeech"))
    assert {"--file", "--play", "-o"} <= set(complete("latentspeech", "speak"))
    assert {"judge", "voice"} <= set(complete("latentspeech", "train"))
    assert "-l file" in cli.completion("fish")["text"] and "bashcompinit" in cli.completion("zsh")["text"]


def test_an_interrupt_is_130_and_a_bug_is_a_traceback(monkeypatch, capsys):
    def interrupted(*given, **more):
        raise KeyboardInterrupt
    monkeypatch.setattr(cli, "open_corpora", interrupted)
    assert main(["prepare"]) == 130 and "Traceback" not in capsys.readouterr().err
    def bug(*given, **more):
        raise KeyError("our own mistake")
    monkeypatch.setattr(cli, "open_corpora", bug)
    with pytest.raises(KeyError):
        main(["prepare"])


def test_a_damaged_corpus_is_exit_code_1(monkeypatch, capsys):
    corpus = types.SimpleNamespace(folder="x", name="x", layout="table", speakers=["a"], recipe="", report=[],
                                   with_utterances=lambda some, report: [],
                                   verify=lambda: ["001"], split=lambda s: [], split_sha256=lambda s: "0")
    class Corpus(types.SimpleNamespace):
        def __len__(self):
            return 0
        def __iter__(self):
            return iter(())
    monkeypatch.setattr(cli, "open_corpora", lambda *a, **more: Corpus(**vars(corpus)))
    assert main(["prepare", "--verify"]) == 1 and "001" in capsys.readouterr().out
