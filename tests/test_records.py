"Records are made again by the commands that they name, all or none of them."
import json, os, shutil, subprocess, sys, time
from pathlib import Path
from types import SimpleNamespace
import pytest
from latentspeech.weights import store_weights
from tools import records

COMMAND = "latentspeech experiment verdicts"


@pytest.fixture
def results(tmp_path, monkeypatch):
    "A folder of records of its own."
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(records, "RESULTS", folder)
    return folder


def put(folder, name, command):
    (folder / f"{name}.json").write_text(json.dumps(dict(command=command, verdicts=[])))


def test_a_record_is_made_by_its_own_command_and_keeps_it(results, tmp_path, capsys):
    put(results, "verdicts", COMMAND)
    assert records.main([str(tmp_path / "work"), "verdicts"]) == 0
    made = json.loads((results / "verdicts.json").read_text())
    shipped = json.loads((records.ROOT / "data/results/verdicts.json").read_text())
    assert made["command"] == COMMAND and made["verdicts"] == shipped["verdicts"]
    assert "verdicts: " in capsys.readouterr().out


def test_nothing_changes_where_one_of_them_fails_and_what_was_made_is_kept(results, tmp_path, capsys):
    put(results, "good", COMMAND)
    put(results, "bad", COMMAND + " --no-such-option")
    put(results, "odd", "by hand")
    words = [str(tmp_path / "work"), "good", "bad", "odd"]
    assert records.main(words) == 1
    said = capsys.readouterr()
    assert json.loads((results / "good.json").read_text())["verdicts"] == [], "half of the records were put in place"
    assert "bad was not made: its command ended with code 2" in said.err
    assert "odd was not made: it was made by 'by'" in said.err
    log, = (tmp_path / "work").glob("made-*/bad.log")
    assert "--no-such-option" in log.read_text()
    assert records.main(words[:2]) == 0
    assert "good: " not in capsys.readouterr().out, "what was there was made again"
    assert json.loads((results / "good.json").read_text())["verdicts"]


def test_under_other_weights_a_command_finds_what_the_record_of_these_says(results, tmp_path, monkeypatch):
    found, made = {}, tmp_path / "made"
    made.mkdir()
    put(results, "one", COMMAND)
    def run(words, **_):
        found[words[-1].parent] = words[-1].exists() and json.loads(words[-1].read_text())
        words[-1].write_text("{}")
        return SimpleNamespace(returncode=0)
    monkeypatch.setattr(records.subprocess, "run", run)
    assert not records.make("one", tmp_path, 1, tmp_path / "checkout", made)
    assert found[made] == dict(command=COMMAND, verdicts=[]), "distances that stay were measured again"
    (made / "one.json").unlink()
    assert not records.make("one", tmp_path, 1, records.ROOT, made)
    assert not found[made], "with the same weights nothing would be measured at all"


def test_nothing_runs_beside_what_measures_time(results, tmp_path, monkeypatch):
    running, beside = set(), {}
    def make(name, folder, threads, checkout, made):
        running.add(name)
        time.sleep(0.3)
        beside[name] = running - {name}
        running.discard(name)
        put(made, name, COMMAND)
        return ""
    for name in "abcd":
        put(results, name, COMMAND)
    monkeypatch.setattr(records, "make", make)
    monkeypatch.setattr(records, "ALONE", ("b",))
    assert records.main([str(tmp_path / "work"), *"abcd", "--jobs", "3"]) == 0
    assert not beside["b"] and beside["a"] and "b" not in set().union(*beside.values())


def test_what_needs_a_record_that_failed_is_not_begun(results, tmp_path):
    put(results, "first", "by hand")
    put(results, "second", COMMAND)
    (tmp_path / "made").mkdir()
    assert list(records.make_chain(("first", "second"), tmp_path, 1, records.ROOT, tmp_path / "made")) == ["first"]
    assert not list((tmp_path / "made").glob("second*"))


def test_weights_that_are_to_ship_wait_until_their_records_are_there(results, tmp_path, monkeypatch, capsys):
    shipped, weights, work = (tmp_path / name for name in ("pretrained", "weights", "work"))
    shutil.copytree(records.SHIPPED, shipped, ignore=shutil.ignore_patterns("base-*"))
    weights.mkdir()
    data = (shipped / "mini-judge.safetensors").read_bytes()
    card = json.loads((shipped / "mini-judge.json").read_text())
    store_weights(weights / "mini-judge.safetensors", data[:-1] + bytes([data[-1] ^ 1]), card)
    sha = json.loads((weights / "mini-judge.json").read_text())["sha256"]
    assert sha != card["sha256"]
    (weights / "log.json").write_text("{}")
    monkeypatch.setattr(records, "SHIPPED", shipped)
    put(results, "bad", COMMAND + " --no-such-option")
    words, changed = [str(work), "bad", "--weights", str(weights)], lambda: json.loads(
        (shipped / "mini-judge.json").read_text())["sha256"] == sha
    assert records.main(words) == 1 and not changed()
    code = "from latentspeech.weights import find_weights; print(find_weights('mini', 'judge'))"
    found = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(work / "checkout")},
                           cwd=work, capture_output=True, text=True).stdout.strip()
    assert json.loads(Path(found).with_suffix(".json").read_text())["sha256"] == sha
    put(results, "bad", COMMAND)
    put(results, "good", COMMAND)
    monkeypatch.setattr(records, "BASE", (("bad",), ("good",)))
    assert records.main(words) == 0 and not changed(), "weights came without one of their records"
    assert "have no good" in capsys.readouterr().out
    made, = (path.parent for path in work.glob("made-*/bad.json"))
    put(made, "good", COMMAND)
    assert records.main(words) == 0 and changed() and not (shipped / "log.json").exists()
    records.main(words[:2])
    assert len(list(work.glob("made-*"))) == 2, "records of other weights were taken for these"


def test_a_folder_without_weights_is_refused(results, tmp_path):
    with pytest.raises(SystemExit):
        records.main([str(tmp_path), "--weights", str(tmp_path)])


def test_names_that_are_no_records_are_refused(results, tmp_path):
    with pytest.raises(SystemExit):
        records.main([str(tmp_path), "nothing"])


def test_every_record_of_base_is_there_and_has_a_command_of_the_library():
    names = [name for chain in records.BASE for name in chain]
    assert len(set(names)) == len(names)
    shipped = json.loads((records.ROOT / "latentspeech/pretrained/base-autoencoder.json").read_text())["sha256"]
    for name in names:
        record = json.loads((records.ROOT / f"data/results/{name}.json").read_text())
        assert record["command"].startswith("latentspeech experiment "), name
    naming = {path.stem for path in (records.ROOT / "data/results").glob("*.json") if shipped in path.read_text()}
    assert naming - {"70_gains_envelopes"} <= set(names), "a record of what ships would be forgotten"
