"""Small rows of the table that had no test of their own, and the table itself."""
import ast, json, os, socket, subprocess, sys
from pathlib import Path
import pytest
from test_shards import write_folder
from latentspeech import cli
from latentspeech.synthesis import LatentSpeech
from latentspeech.weights import PretrainedError, load_weights, save_tensors
from tools import fire

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("rows.tsv")
STANDING = ROOT.parent / "shared" / "faults.md"   # beside a checkout where the project is worked on


def named():
    "Yield (kind, file, test) of the table."
    for line in TABLE.read_text("utf8").splitlines():
        if line and not line.startswith("#"):
            kind, tests, *counted = line.split("\t")
            assert counted in ([], ["damages"]), line
            for test in tests.split():
                file, _, name = test.partition("::")
                yield kind, file, name.partition("[")[0]


def test_each_row_names_tests_that_are_there():
    for kind, file, name in named():
        names = {node.name for node in ast.parse((ROOT / "tests" / file).read_text("utf8")).body
                 if isinstance(node, ast.FunctionDef)}
        assert name in names or not name, f"{kind}: {file} has no {name}"
    kinds = [line.split("\t")[0] for line in TABLE.read_text("utf8").splitlines()]
    assert len(kinds) == len(set(kinds))


@pytest.mark.skipif(not STANDING.exists(), reason="the standing table isn't here")
def test_the_table_is_at_least_as_long_as_the_standing_one():
    lines = STANDING.read_text("utf8").splitlines()
    rows = [l for l in lines if l.startswith("| ") and not l.startswith("| fault")]
    assert len({kind for kind, *_ in named()}) >= len(rows)


def test_counts_are_added_up_from_what_the_tests_say():
    said = ["counted: voice: 25 kills in 3 runs, 0 checkpoints lost", "counted: judge: 26 kills in 4 runs",
            "counted: sound: 9 calls, 72 trials", "counted: voice: 400 cards, 300 refused",
            "counted: weights: 400 files, 390 refused", "counted: 500 sentences in a row, memory grew by 3 MB"]
    found = {"test_weights.py::test_damage_is_found[cut]": "passed",
             "test_weights.py::test_damage_is_found[x]": "failed",
             "test_cli.py::test_an_interrupt_is_130_and_a_bug_is_a_traceback": "passed"}
    assert fire.counts(said, found) == dict(kills=51, calls=72, fuzz=800, damages=1)


def test_what_is_run_has_every_test_once():
    "A folder stands for its files, a file for its tests, and no file for one whose name is longer."
    asked = fire.named_tests(dict(a=["fire/test_kills.py", "test_runner.py"], b=["test_runner.py::test_x"],
                                  c=["test_runner_more.py::test_y[1]"]))
    assert asked == ["tests/fire", "tests/test_runner.py", "tests/test_runner_more.py::test_y"]


def test_a_row_that_shows_nothing_has_failed():
    found = {"test_a.py::test_b[1]": "passed", "test_a.py::test_b[2]": "skipped", "test_a.py::test_c": "failed"}
    assert fire.shown(["test_a.py::test_b"], found) == (1, 0) and fire.shown(["test_a.py"], found) == (1, 1)
    assert fire.shown(["test_a.py::test_d"], found) == (0, 1)


def test_the_network_is_blocked():
    with pytest.raises(PermissionError, match="a test asked for the network"):
        socket.create_connection(("example.org", 80), timeout=1)


def test_the_module_is_a_command():
    done = subprocess.run([sys.executable, "-m", "latentspeech.cli"], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2 and "usage" in done.stderr and not done.stdout


def test_no_bar_reaches_a_redirected_stream(tmp_path, capsys):
    "What is read by a program holds nothing but what it asked for."
    folder = write_folder(tmp_path / "c")
    assert cli.main(["prepare", str(folder), "--out", str(tmp_path / "s"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["utterances"] == 14 and "%|" not in err and "\r" not in err


@pytest.mark.parametrize("words", [["train", "voice"], ["evaluate"]])
def test_a_corpus_that_lacks_something_is_refused_in_one_line(words, tmp_path, capsys, monkeypatch):
    "A corpus without starts, or without a sentence to test, says what would give it, before any work."
    monkeypatch.chdir(tmp_path)
    folder = write_folder(tmp_path / "c")
    table = (folder / "metadata.tsv").read_text("utf8").replace("\ttest", "\ttrain")
    (folder / "metadata.tsv").write_text(table, "utf8")
    preset = "mini" if words == ["evaluate"] else "tiny"
    assert cli.main([*words, "--preset", preset, "--corpus", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert len(err.strip().splitlines()) == 1 and not out and "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c"]


def test_a_voices_card_has_its_sample_rate(tmp_path):
    "A voice of another rate is refused; older cards, which don't say, are of ours."
    for part in ("autoencoder", "voice"):
        state, card = load_weights("mini", part)
        if part == "voice":
            card["sample_rate"] = 16_000
        save_tensors(tmp_path / f"mini-{part}", state, card)
    with pytest.raises(PretrainedError, match="speaks 16000 samples a second, not 48000"):
        LatentSpeech.from_pretrained(tmp_path)
