"Oracles for latentspeech.listening: balanced, blind plans, files that survive, intervals of known coverage."
import itertools, math, os, sys
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
