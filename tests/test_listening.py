"Oracles for latentspeech.listening: balanced, blind plans, files that survive, intervals of known coverage."
import itertools, math, os, shutil, sys
import numpy as np, pytest, torch
from latentspeech import listening as l
from latentspeech.audio import level

SYSTEMS = ["voice", "baseline"]
WORTH = {"natural": 4.6, "voice": 3.4, "baseline": 3.0, "bad": 1.2}
SOUNDS = {s: [torch.randn(4800, generator=torch.Generator().manual_seed(k)) * 0.01 * (k + 1) for k in range(4)]
          for s in WORTH}


def sheets(n, n_items=20, seed=0, **how):
    return [l.Sheet(l.plan_test(SYSTEMS, n_items, k, seed, **how)) for k in range(n)]


# ---- plans

@pytest.mark.parametrize("n_items", [1, 4, 7, 20])
@pytest.mark.parametrize("listener", [0, 1, 5])
def test_every_pair_is_asked_once_a_sentence_and_sides_are_balanced(n_items, listener):
    plan = l.plan_test(["a", "b", "c"], n_items, listener, n_controls=6)
    for pair in itertools.combinations("abc", 2):
        asked = [t for t in plan if set(t.systems) == set(pair)]
        assert sorted(t.item for t in asked) == list(range(n_items))
        assert abs(2 * sum(t.systems == pair for t in asked) - n_items) <= 1
    controls = [t for t in plan if t.control]
    assert len(controls) == 6 and sum(t.systems[0] == "natural" for t in controls) == 3


def test_orders_are_repeatable_and_differ_between_listeners():
    plans = [tuple(l.plan_test(SYSTEMS, 10, k, 3)) for k in range(20)]
    assert len(set(plans)) == 20
    assert plans[4] == tuple(l.plan_test(SYSTEMS, 10, 4, 3)) != tuple(l.plan_test(SYSTEMS, 10, 4, 2))
    first = [plan.index(next(t for t in plan if t.control)) for plan in plans]
    assert len(set(first)) > 2       # a control has no fixed place


def test_scores_hide_reference_and_bad_control_once_a_sentence():
    plan = l.plan_test([*SYSTEMS, "natural"], 5, kind="scores")
    assert sorted((t.item, t.systems[0]) for t in plan) == sorted(itertools.product(range(5), WORTH))
    assert all(t.control == (t.systems[0] in ("natural", "bad")) for t in plan)


@pytest.mark.parametrize("how", [dict(systems=["a"]), dict(n_items=0), dict(kind="stars"), dict(systems=["a", "bad"])])
def test_an_impossible_plan_is_refused(how):
    with pytest.raises(l.ListeningError):
        l.plan_test(**{"systems": SYSTEMS, "n_items": 3} | how)


# ---- answers

def test_the_file_is_blind_and_the_test_goes_on(tmp_path):
    plan, path = l.plan_test(SYSTEMS, 3), tmp_path / "someone.json"
    for number in range(len(plan)):
        sheet = l.Sheet(plan, path)                       # a new process each time
        assert sheet.next == number
        l.record_answer(sheet, number % 2)
        assert not any(name in path.read_text() for name in WORTH)
    assert l.Sheet(plan, path).next is None
    with pytest.raises(l.ListeningError, match="all questions"):
        l.record_answer(l.Sheet(plan, path), 0)


def test_a_crash_while_writing_loses_nothing(tmp_path, monkeypatch):
    sheet = l.Sheet(l.plan_test(SYSTEMS, 3), tmp_path / "a.json")
    l.record_answer(sheet, 1)
    before = sheet.path.read_bytes()
    def crash(*paths):
        raise OSError("the disk is full")
    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError):
        l.record_answer(sheet, 0)
    assert sheet.path.read_bytes() == before and sheet.answers == [1] and os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"plan": "x"}', b"\xff\xfe", b'{"plan": "other", "answers": [1]}'])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(l.ListeningError, match="another"):
        l.Sheet(l.plan_test(SYSTEMS, 3), tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == content


@pytest.mark.parametrize("answer", [2, -1, 6, "A", None, 0.5])
def test_what_is_no_answer_is_refused(answer):
    sheet = l.Sheet(l.plan_test(SYSTEMS, 3))
    with pytest.raises(l.ListeningError, match="no answer"):
        l.record_answer(sheet, answer)
    assert sheet.answers == []


# ---- the page

@pytest.mark.parametrize("kind, n_buttons", [("pairs", 2), ("scores", 5)])
def test_the_page_is_answered_with_buttons_and_tells_nothing(kind, n_buttons):
    sheet = l.Sheet(l.plan_test(SYSTEMS, 2, kind=kind))
    page = l.ListeningPage(sheet, SOUNDS)
    for number, trial in enumerate(sheet.trials):
        box = page.widget()
        shown = repr(page) + "".join(child.value for child in box.children[:2])
        assert not any(name in shown for name in ("natural", *SYSTEMS)) and f"Question {number + 1} of" in shown
        assert len(box.children[2].children) == n_buttons
        assert [level(s) for s in page.players().sounds.values()] == pytest.approx([-26] * len(trial.systems), abs=0.01)
        box.children[2].children[-1].click()
    assert sheet.next is None and "Thank you" in repr(page) and "Thank you" in page.widget().children[0].value
    assert set(sheet.answers) == {1 if kind == "pairs" else 5}


def test_without_widgets_the_page_is_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    page = l.ListeningPage(l.Sheet(l.plan_test(SYSTEMS, 2)), SOUNDS)
    assert "Question 1" in page._repr_mimebundle_()["text/plain"]
    page.answer(1)
    assert "Question 2" in page._repr_mimebundle_()["text/plain"]


def test_a_page_needs_all_sounds():
    with pytest.raises(l.ListeningError, match="bad"):
        l.ListeningPage(l.Sheet(l.plan_test(SYSTEMS, 2)), {k: SOUNDS[k] for k in ("voice", "baseline", "natural")})


def test_the_bad_control_is_bad():
    a = SOUNDS["natural"][0]
    assert level(l.bad_control(a) - a) == pytest.approx(level(a), abs=0.01)
    assert torch.equal(l.bad_control(a, 3), l.bad_control(a, 3))


# ---- who listens

def test_careless_listeners_are_left_out_and_named():
    group = sheets(40, n_controls=20)
    l.synthetic_answers(group, WORTH, careless=range(0, 40, 2))
    heard = [l.attention(s) for s in group]
    assert min(heard[1::2]) >= 0.9 and np.mean(heard[::2]) == pytest.approx(0.5, abs=0.1)
    result = l.analyse(group, synthetic=True)
    said = repr(result)
    assert set(result.excluded) == {k for k, a in enumerate(heard) if a < 0.8} <= set(range(0, 40, 2))
    assert all(f"listener {k} (" in said for k in result.excluded) and "no person was asked" in said


def test_nobody_left_is_an_error_and_no_controls_is_no_attention():
    group = sheets(3, 4)
    with pytest.raises(l.ListeningError, match="no listener passed"):
        l.analyse(group)
    assert all(math.isnan(l.attention(s)) for s in group)
    asleep = sheets(1, 4, n_controls=10)
    for trial in asleep[0].trials:
        l.record_answer(asleep[0], 1 - trial.systems.index("natural") if trial.control else 0)
    assert l.attention(asleep[0]) == 0
    with pytest.raises(l.ListeningError):
        l.analyse(asleep)


# ---- figures

def test_answers_are_laid_out_whatever_the_side():
    group = sheets(4, 6)
    for sheet in group:
        for trial in sheet.trials[:-1]:
            l.record_answer(sheet, trial.systems.index("voice") if "voice" in trial.systems else 0)
    table = l.answer_table(group, "voice", "baseline")
    assert np.nanmin(table) == 1 and np.isnan(table).sum() == sum(not s.trials[-1].control for s in group)
    assert np.array_equal(l.answer_table(group, "baseline", "voice"), 1 - table, equal_nan=True)


def test_binomial_p_is_exact():
    group = sheets(1, 10, n_controls=2)
    wins = 0
    for trial in group[0].trials:
        better = "natural" if trial.control else "voice" if (wins := wins + 1) <= 8 else "baseline"
        l.record_answer(group[0], trial.systems.index(better))
    result = l.analyse(group)
    assert result.rows[0].value == pytest.approx(0.2)
    assert result.rows[0].row == "baseline over voice"
    assert result.rows[0].n == 10
    assert result.p_values["baseline over voice"] == pytest.approx(2 * sum(math.comb(10, k)
                                                                           for k in (0, 1, 2)) / 2 ** 10)


def coverage(kind, worth, truth, measure, seeds=200):
    hits = 0
    for seed in range(seeds):
        group = sheets(12, 20 if kind == "pairs" else 12, seed, kind=kind, n_controls=0)
        l.synthetic_answers(group, worth, seed=seed)
        low, high = l.crossed_interval(measure(group), 400, seed)
        hits += low <= truth <= high
    return hits / seeds


@pytest.mark.parametrize("voice", [3.0, 3.4, 4.0])
def test_the_interval_of_a_preference_holds_the_truth_as_often_as_it_says(voice):
    found = coverage("pairs", WORTH | {"voice": voice}, l.expected_preference(voice, 3.0),
                     lambda g: l.answer_table(g, "voice", "baseline"))
    assert 0.90 <= found <= 0.99


def test_the_interval_of_an_opinion_holds_the_truth_as_often_as_it_says():
    felt = 3.4 + math.sqrt(2 * 0.25 + 0.49) * np.random.default_rng(0).normal(size=1_000_000)
    truth = np.clip(np.round(felt), 1, 5).mean()
    found = coverage("scores", WORTH, truth, lambda g: l.answer_table(g, "voice"), 100)
    assert 0.88 <= found <= 1.0


def test_the_preference_law_is_that_of_the_listeners():
    group = sheets(150, 60, n_controls=0)
    l.synthetic_answers(group, WORTH, spread=0.3)
    assert np.nanmean(l.answer_table(group, "voice",
                                     "baseline")) == pytest.approx(l.expected_preference(3.4, 3.0, 0.3), abs=0.06)


def test_a_clear_preference_is_found_and_its_mirror_too():
    for voice, baseline in ((4.2, 2.4), (2.4, 4.2)):
        group = sheets(12)
        l.synthetic_answers(group, WORTH | dict(voice=voice, baseline=baseline))
        row = l.analyse(group, synthetic=True).rows[0]              # "baseline over voice"
        assert (row.high < 0.5) if voice > baseline else (row.low > 0.5)


def test_opinions_come_back_in_order_and_ends_are_found():
    group = sheets(12, 12, kind="scores")
    l.synthetic_answers(group, WORTH)
    result = l.analyse(group)
    value = {r.row: r.value for r in result.rows}
    assert value["natural"] > value["voice"] > value["baseline"] > value["bad"] and not result.p_values
    assert all(r.low <= r.value <= r.high and r.n == 12 * (12 - len(result.excluded)) for r in result.rows)
    assert len(result.excluded) <= 2


def test_the_exact_test_equals_scipys():
    from scipy.stats import binomtest
    from latentspeech.listening import binomial_p
    assert all(binomial_p(k, n) == pytest.approx(binomtest(k, n).pvalue, abs=1e-12)
               for n in (1, 7, 40, 301) for k in range(n + 1))


# ---- a class

def a_class(folder, listeners=3, kinds=("pairs", "scores")):
    "Let every listener take a test on a laptop of their own, and gather their votes."
    test = l.save_class_test(folder / "class", SOUNDS, SYSTEMS, seed=5)
    for number in range(1, listeners + 1):
        laptop = shutil.copytree(test.folder, folder / f"laptop-{number}")
        for kind in kinds:
            l.synthetic_answers([l.open_class_test(laptop).take(number, kind).sheet], WORTH, mood=0.2, seed=number)
        shutil.copytree(laptop / "votes", test.folder / "votes", dirs_exist_ok=True)
    return test


def test_votes_of_several_laptops_are_pooled_into_preference_and_opinion(tmp_path):
    test = a_class(tmp_path)
    pairs, scores = test.pool(), test.pool("scores")
    assert [(r.row, r.metric, r.n) for r in pairs.rows] == [("baseline over voice", "preferred", 12)]
    assert {r.row: r.n for r in scores.rows} == dict.fromkeys(WORTH, 12)
    assert all(r.low <= r.value <= r.high for r in pairs.rows + scores.rows)
    best = sorted(scores.rows, key=lambda r: r.value)
    assert (best[0].row, best[-1].row) == ("bad", "natural")
    direct = l.analyse([test.take(number).sheet for number in (1, 2, 3)])
    assert direct.rows == pairs.rows and pairs.about["not finished"] == "nobody"


def test_files_of_a_class_are_blind_and_equally_loud(tmp_path):
    test = a_class(tmp_path, 1)
    names = [p.name for p in test.folder.rglob("*") if p.is_file()]
    assert not [n for n in names for system in WORTH if system in n] and len(names) == 16 + 1 + 2
    assert not [p for p in (test.folder / "votes").iterdir() for system in WORTH if system in p.read_text()]
    assert {round(level(s)) for some in test.sounds.values() for s in some} == {-26}


def test_who_stops_goes_on_and_is_not_counted(tmp_path):
    test = a_class(tmp_path, 2, ("pairs",))
    test.take(3).answer(0)
    assert test.take(3).sheet.next == 1
    said = test.pool()
    assert said.rows[0].n == 8 and said.about["not finished"] == "listener 3"


@pytest.mark.parametrize("harm, said", [
    (lambda test: (test.folder / "votes" / "pairs-2 (1).json").write_text("{}"), "should end in a listener's number"),
    (lambda test: shutil.copy(test.folder / "votes/pairs-1.json", test.folder / "votes/pairs-9.json"), "another test"),
    (lambda test: (test.folder / "votes" / "pairs-1.json").write_text("[]"), "holds no answers"),
    (lambda test: (test.folder / "votes" / "pairs-1.json").write_text("[" * 100_000), "holds no answers"),
    (lambda test: shutil.rmtree(test.folder / "votes"), "gather the files of all laptops")])
def test_votes_that_cannot_be_read_are_named(tmp_path, harm, said):
    test = a_class(tmp_path, 2, ("pairs",))
    harm(test)
    with pytest.raises(l.ListeningError, match=said):
        test.pool()


@pytest.mark.parametrize("harm", [lambda folder: (folder / "key.json").unlink(),
                                  lambda folder: (folder / "key.json").write_text("[1]"),
                                  lambda folder: (folder / "key.json").write_text("[" * 100_000),
                                  lambda folder: next(folder.glob("*.flac")).unlink(),
                                  lambda folder: next(folder.glob("*.flac")).write_bytes(b"fLaC")])
def test_a_folder_that_lost_something_is_refused(tmp_path, harm):
    folder = l.save_class_test(tmp_path, SOUNDS, SYSTEMS).folder
    harm(folder)
    with pytest.raises(l.ListeningError, match="copy the whole folder again"):
        l.open_class_test(folder)


@pytest.mark.slow
def test_a_class_hears_a_voice_that_ships(tmp_path, capsys):
    from tools import listening as tool
    test = tool.make(tmp_path / "test", sentences=2, preset="tiny")
    for number in (1, 2, 3):
        laptop = shutil.copytree(tmp_path / "test", tmp_path / f"laptop-{number}")
        code = [c.source for c in tool.notebook().cells if c.cell_type == "code"]
        names = {}
        for line in code:   # what a listener runs, in the folder that was copied
            exec(line.replace('"."', repr(str(laptop))).replace("NUMBER = 1", f"NUMBER = {number}"), names)
        worth = dict(natural=4.8, reconstruction=4.0, TTS=2.5, bad=1.0)
        for kind in tool.KINDS:
            l.synthetic_answers([names["test"].take(number, kind).sheet], worth, mood=0.1, seed=number)
        shutil.copytree(laptop / "votes", tmp_path / "test/votes", dirs_exist_ok=True)
    assert tool.main(["pool", str(tmp_path / "test")]) == 0
    said = capsys.readouterr().out
    assert "## Preference" in said and "## Mean opinion" in said and "TTS over reconstruction" in said
    assert tool.main(["pool", str(tmp_path)]) == 2 and "copy the whole folder" in capsys.readouterr().out
