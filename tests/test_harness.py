"The harness of the experiments: controls with one definition, rows that are kept, commands that make a record again."
import json, os, shlex
import pytest, torch
from latentspeech.config import PRESETS
from latentspeech.corpora import make_embedded_corpus
from latentspeech.evaluation import bounds, other_texts
from latentspeech.experiments import harness
from latentspeech.judge import Judge
from latentspeech.table import RecordError, recorded


@pytest.fixture(scope="module")
def corpus():
    return make_embedded_corpus(config=PRESETS["tiny"].corpus, progress=False)


def test_a_control_is_the_one_of_the_results_table(corpus):
    some = corpus.split("test")[:2]
    natural = [corpus.audio(u) for u in some]
    table = bounds(natural, 0) | {"control: another text": other_texts(natural, some)}
    for name in harness.CONTROLS:
        if name in table:                               # flat tones need the eval extra
            for a, b in zip(harness.control(name, natural, some), table[name], strict=True):
                assert torch.equal(a, b), name


@pytest.mark.parametrize("text", ["", "[" * 100_000, "5", "null", "[]"])
def test_a_record_that_is_none_is_named(text, tmp_path):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(RecordError, match="r.json"):
        recorded(tmp_path / "r.json")


def test_what_others_made_is_another_file(tmp_path):
    for of in (dict(decoder="a"), dict(decoder="b"), dict(decoder="a")):
        assert harness.kept(tmp_path / "row.json", lambda: of, of) == of
    assert len(os.listdir(tmp_path)) == 2


def test_what_is_kept_is_not_made_again(tmp_path):
    made = []
    def make():
        made.append(1)
        return dict(row="natural", value=None)
    for _ in range(3):
        assert harness.kept(tmp_path / "a" / "row.json", make) == dict(row="natural", value=None)
    assert made == [1] and os.listdir(tmp_path / "a") == ["row.json"]
    with pytest.raises(ZeroDivisionError):
        harness.kept(tmp_path / "other.json", lambda: 1 / 0)
    assert not (tmp_path / "other.json").exists()


def test_rows_go_on_only_with_the_very_same_work(tmp_path, capsys):
    about = dict(seed=0, split_sha256="s", weights_sha256=dict(voice="v"), shares=(1, 2))
    rows = harness.Rows(tmp_path / "r.json", "latentspeech experiment x", about)
    rows.add(dict(row="natural", value=float("nan")))
    assert recorded(tmp_path / "r.json")["rows"] == [dict(row="natural", value=None)]
    again = harness.Rows(tmp_path / "r.json", "latentspeech experiment x --out y", about)
    assert not again.missing("natural") and again.missing("TTS")
    for change in (dict(seed=1), dict(split_sha256="t"), dict(weights_sha256=dict(voice="w")), dict(shares=(1,))):
        assert list(harness.Rows(tmp_path / "r.json", "", about | change)) == []


def test_a_score_keeps_its_sentences(corpus):
    some = corpus.split("test")[:3]
    natural, judge = [corpus.audio(u) for u in some], Judge.from_pretrained("mini")
    row, tone = harness.score("natural", natural, judge, some, role="natural")
    assert (row["value"], row["role"], tone["role"]) == (0, "natural", "")
    assert [int(n) for n in row["totals"].split()] == [len(u.pinyin) for u in some]
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize("called, words", [
    (dict(), []),
    (dict(shares=(0.5, 1.0), steps=3), ["--shares", "0.5", "1.0", "--steps", "3"]),
    (dict(corpus="/home/a person/real,embedded"), ["--corpus", "real,embedded"]),
    (dict(weights="x=/tmp/a,b"), ["--weights", "x=a,b"])])
def test_a_command_names_what_is_unusual_and_nobody_s_folders(called, words):
    scaling = harness.find_experiment("scaling")
    usual = vars(harness.build_experiment_parser(scaling).parse_args([]))
    assert shlex.split(harness.command(scaling, usual | called)) == ["latentspeech", "experiment", "scaling", *words]


def test_speakers_and_samples_come_from_everywhere(corpus):
    both = harness.open_corpora(preset="tiny", speakers="male, female")
    assert both.split_sha256("test") == corpus.split_sha256("test")
    with pytest.raises(ValueError, match="there are: female, male"):
        harness.open_corpora(preset="tiny", speakers="nobody")
    sets = dict(harness.by_set(corpus, "valid"))
    assert sorted(u.id for some in sets.values() for u in some) == sorted(u.id for u in corpus.split("valid"))
    assert [len(some) for _, some in harness.by_set(corpus, "valid", "male,female", 2)] == [2, 2]
