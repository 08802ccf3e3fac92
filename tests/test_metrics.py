"Oracles for latentspeech.metrics: other libraries, invariances, intervals whose coverage is known."
import json, math, pickle, sys
import numpy as np
import pytest
import torch
import librosa_values
from latentspeech.files import MissingExtra
from latentspeech import distances as d, metrics as m, table as t
from latentspeech.audio import vowel

RATE, LIBROSA = 48_000, json.loads(librosa_values.FILE.read_text("utf8"))


def speech():
    "A sentence of vowels with four tones: no espeak, no recording."
    parts = [vowel(name, tone, 0.3, 170) for name, tone in (("a", 1), ("i", 4), ("u", 2), ("e", 3))]
    return torch.cat([torch.zeros(2400), *parts, torch.zeros(2400)]) + 1e-4 * torch.randn(
        4 * 14_400 + 4800, generator=torch.Generator().manual_seed(1)
    )


def noise(sound, snr, seed=0):
    return sound + sound.std() * 10 ** (-snr / 20) * torch.randn(len(sound),
                                                                 generator=torch.Generator().manual_seed(seed))


# ---- error rates

def test_edit_distance_agrees_with_jiwer():
    jiwer = pytest.importorskip("jiwer")
    random = np.random.default_rng(0)
    for _ in range(300):
        r, h = (list(random.choice(list("abcd"), random.integers(low, 12))) for low in (1, 0))
        counts = jiwer.process_words(" ".join(r), " ".join(h))
        assert m.edit_distance(r, h) == counts.substitutions + counts.deletions + counts.insertions


def test_alignment_keeps_both_sides_in_order():
    random = np.random.default_rng(1)
    for _ in range(100):
        r, h = (list(random.choice(list("abc"), random.integers(0, 9))) for _ in range(2))
        pairs = m.align(r, h)
        assert [a for a, _ in pairs if a is not None] == r and [b for _, b in pairs if b is not None] == h


@pytest.mark.parametrize("measure", [m.syllable_error_rate, m.tone_error_rate, m.toned_syllable_error_rate])
def test_a_failed_output_is_all_wrong(measure):
    said = [["ni3", "hao3"], ["zai4", "jian4"]]
    assert measure(said, said) == 0
    assert measure(said, [None, []]) == 1
    assert measure(said, [said[0], None]) == 0.5
    with pytest.raises(m.MetricError):
        measure(said, said[:1])


def test_the_three_rates_separate_sound_and_tone():
    said = [["ma1", "ma2", "ma3", "ma4"]]
    tones, sounds = [["ma2", "ma2", "ma3", "ma4"]], [["ba1", "ma2", "ma3", "ma4"]]
    assert (m.syllable_error_rate(said, tones), m.tone_error_rate(said, tones),
            m.toned_syllable_error_rate(said, tones)) == (0, .25, .25)
    assert (m.syllable_error_rate(said, sounds), m.tone_error_rate(said, sounds),
            m.toned_syllable_error_rate(said, sounds)) == (.25, 0, .25)


def test_tone_alignment_takes_the_fewest_tone_errors():
    assert m.tone_error_rate([["ma1", "ma2"]], [["ma2"]]) == 0      # either ma may be the one that was lost
    assert m.tone_error_rate([["ma1", "ma2", "ma3"]], [["ma2", "ma3"]]).total == 2


def test_one_flat_list_is_one_utterance():
    assert m.syllable_error_rate(["ni3", "hao3"], ["ni2"]).n == 1
    assert m.syllable_error_rate(["ni3", "hao3"], ["ni2"]) == 0.5


def test_rate_is_a_corpus_rate_and_survives_pickling():
    rate = m.Rate([1, 1], [1, 20])
    assert rate == pytest.approx(2 / 21)
    assert rate.mean == pytest.approx(0.525)
    assert (rate.errors, rate.total, rate.n) == (2, 21, 2)
    again = pickle.loads(pickle.dumps(rate))
    assert again == rate and again.n == 2 and (again.per_utterance == rate.per_utterance).all()
    assert math.isnan(m.Rate([], [])) and math.isnan(m.Rate([0], [0]).mean)


def test_characters_are_tokens_and_punctuation_is_not():
    assert m.character_error_rate(["今天天气很好。"], ["今天，天汽很好"]) == pytest.approx(1 / 6)
    assert m.character_error_rate(["你好"], [None]) == 1
    assert m.character_error_rate(["你好", ""], ["你好", "吗"]).errors == 1
    assert m.text_tokens("ＡＢ\u200b，你") == m.text_tokens("ab 你")


# ---- intervals

def test_interval_agrees_with_scipy():
    from scipy import stats
    values = np.random.default_rng(0).gamma(2.0, size=80)
    ours = m.bootstrap_interval(values, seed=1)
    scipys = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000,
                             random_state=1).confidence_interval
    assert np.allclose(ours, scipys, atol=0.03)
    assert m.bootstrap_interval(values, seed=1) == ours != m.bootstrap_interval(values, seed=2)


def test_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        low, high = m.bootstrap_interval(m.Rate(random.binomial(10, 0.1, 60), [10] * 60), n=400, seed=trial)
        hits += low <= 0.1 <= high
    assert 0.90 <= hits / 200 <= 0.99


def test_paired_interval_is_narrower_and_signed():
    random = np.random.default_rng(0)
    hard = random.beta(0.5, 4, 100)
    b = random.binomial(10, hard)
    a = random.binomial(b, 0.7)
    difference, low, high = m.paired_interval(m.Rate(a, [10] * 100), m.Rate(b, [10] * 100))
    assert difference < 0 and low < difference < high < 0
    alone = m.bootstrap_interval(m.Rate(b, [10] * 100))
    assert high - low < alone[1] - alone[0]
    assert m.paired_interval(a / 10, b / 10, relative=True)[0] == pytest.approx(a.sum() / b.sum() - 1)
    assert m.paired_interval(b, b) == (0, 0, 0)
    with pytest.raises(m.MetricError):
        m.paired_interval([1.0], [1.0, 2.0])


# ---- distances

def test_warped_cepstrum_equals_pysptk():
    pysptk = pytest.importorskip("pysptk", reason="eval extra")
    envelope = np.exp(np.cumsum(np.random.default_rng(0).normal(size=(5, 513)), 1) * 0.1)
    assert np.allclose(d.mel_cepstrum(envelope), pysptk.sp2mc(envelope, 24, 0.42), atol=1e-9)


def test_mcd_within_two_per_cent_of_pyworld_and_pysptk():
    pyworld, pysptk = (pytest.importorskip(p, reason="eval extra") for p in ("pyworld", "pysptk"))
    def frames(sound):
        x = d.resample(sound, RATE, 16_000).double().numpy()
        f0, times = pyworld.harvest(x, 16_000, frame_period=5.0)
        sp = pyworld.cheaptrick(x, f0, times, 16_000)
        power = sp.mean(1)
        return pysptk.sp2mc(sp, 24, 0.42)[power > 0.01 * power.mean(), 1:]
    a, b = speech(), noise(speech(), 15)[4800:]
    x, y = frames(a), frames(b)
    path = d.dtw(np.linalg.norm(x[:, None] - y[None], axis=2))     # held against librosa below
    reference = 10 * math.sqrt(2) / math.log(10) * np.linalg.norm(x[path[:, 0]] - y[path[:, 1]], axis=1).mean()
    assert d.mel_cepstral_distortion(a, b) == pytest.approx(reference, rel=0.02)


def test_mcd_invariances():
    pytest.importorskip("pyworld", reason="eval extra")
    a = speech()
    seen = d.world(a)
    def mcd(sound):
        return d.mel_cepstral_distortion(seen, sound)
    assert d.mel_cepstral_distortion(a, a.clone()) == 0
    assert mcd(2 * a) < 0.01
    assert mcd(torch.cat([torch.zeros(9600), a])) < 0.6 and mcd(torch.cat([a, torch.zeros(9600)])) < 0.6
    levels = [mcd(noise(a, snr)) for snr in (40, 30, 20, 10, 0)]
    assert levels == sorted(levels) and levels[0] > 0
    for failed in (torch.zeros(9600), torch.zeros(0), torch.full((9600,), math.nan)):
        assert mcd(failed) == math.inf
    with pytest.raises(m.MetricError):
        d.mel_cepstral_distortion(torch.zeros(9600), a)


def test_mcd_is_blind_to_tone_and_f0_is_not():
    pytest.importorskip("pyworld", reason="eval extra")
    a = speech()
    seen, copy, flat = d.world(a), d.world(d.world_copy(a)), d.world(d.world_copy(a, flatten=True))
    assert abs(d.mel_cepstral_distortion(seen, flat) - d.mel_cepstral_distortion(seen, copy)) < 1.0
    assert d.f0_metrics(seen, copy).rmse_semitones < 0.5 < 2 < d.f0_metrics(seen, flat).rmse_semitones
    assert d.f0_metrics(seen, copy).correlation > 0.95


def test_dtw_against_librosa():
    for shape, total in zip(librosa_values.SHAPES, LIBROSA["warped"], strict=True):
        cost = librosa_values.cost(shape)
        path = d.dtw(cost)
        assert cost[tuple(path.T)].sum() == pytest.approx(total)
        assert tuple(path[0]) == (0, 0)
        assert (np.diff(path, axis=0) <= 1).all()
        assert (np.diff(path, axis=0).sum(1) >= 1).all()


def test_authors_script_against_librosa():
    a, b = librosa_values.sentences()
    assert d.author_script_mfcc_distance(a, b) == pytest.approx(LIBROSA["mfcc_distance"], rel=1e-3)
    assert d.author_script_mfcc_distance(a, b, RATE) > 0
    assert d.author_script_mfcc_distance(a, torch.zeros(9)) == math.inf


def test_pesq_and_stoi_only_for_aligned_pairs():
    pesq = pytest.importorskip("pesq", reason="eval extra")
    pystoi = pytest.importorskip("pystoi", reason="eval extra")
    a, b = speech(), noise(speech(), 10)
    x, y = (d.resample(s, RATE, 16_000).numpy() for s in (a, d.match_level(b, a)))
    assert d.pesq_wb(a, b) == pytest.approx(pesq.pesq(16_000, x, y, "wb"), abs=1e-3)
    assert d.stoi(a, b) == pytest.approx(pystoi.stoi(x, y, 16_000), abs=1e-3)
    assert d.pesq_wb(a, 3 * b) == pytest.approx(d.pesq_wb(a, b), abs=0.01)
    for measure in (d.pesq_wb, d.stoi):
        with pytest.raises(m.MetricError, match="time-aligned"):
            measure(a, a[:-9600])
        assert math.isnan(measure(a, torch.zeros_like(a))) and math.isnan(measure(a[:900], a[:900]))


@pytest.mark.parametrize("package, call", [("pyworld", lambda a: d.mel_cepstral_distortion(a, a)),
                                           ("pesq", lambda a: d.pesq_wb(a, a)),
                                           ("pystoi", lambda a: d.stoi(a, a)),
                                           ("pyworld", lambda a: d.f0_metrics(a, a))])
def test_a_missing_extra_names_the_cure(monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"pip install latentspeech\[eval\]"):
        call(speech())


# ---- the table

def rows(natural, tts, control):
    return [t.measured(role, "SER (in-house)", m.Rate([e] * 20, [100] * 20), role) for role, e in
            (("natural", natural), ("tts", tts), ("control", control))]


def test_ordering_hides_the_voice():
    assert t.check_ordering(rows(1, 5, 90)) == []
    for bad in (rows(5, 1, 90), rows(1, 90, 5), rows(1, 1, 90)):
        table = t.ResultsTable(bad)
        assert "ORDERING VIOLATED" in table.to_markdown() and "ORDERING VIOLATED" in table.to_html()
        assert "tts" not in {row["row"] for row in json.loads(table.to_json())["rows"]}


def test_table_round_trip(tmp_path):
    table = t.ResultsTable(rows(1, 5, 90) + [t.measured("tts", "MCD", [math.inf, 5.0], unit="dB"),
                                             t.measured("tts", "PESQ", [None, None])], {"seed": 3})
    table.to_json(tmp_path / "t.json")
    read = json.loads((tmp_path / "t.json").read_text("utf8"), parse_constant=pytest.fail)
    first = read["rows"][0]
    assert (first["row"], first["metric"], first["value"], first["n"]) == ("natural", "SER (in-house)", 0.01, 20)
    assert read["seed"] == 3
    assert read["rows"][3]["value"] is None and read["rows"][4]["failed"] == 2
    again = t.ResultsTable.of_record([dict(r, set="b") for r in read["rows"]] + [dict(first, set="a", value=1.0)],
                                     {"seed": 3}, set="b")
    assert again.rows[:3] == table.rows[:3] and again.rows[4] == table.rows[4] and again.to_json() == table.to_json()


def test_a_record_takes_what_is_not_finite(tmp_path):
    path = t.record(tmp_path / "r.json", [dict(row="tts", value=math.inf, low=math.nan, n=2)], "make it", 0, "-", "-")
    assert json.loads(path.read_text("utf8"),
                      parse_constant=pytest.fail)["rows"] == [dict(row="tts", value=None, low=None, n=2)]
    with pytest.raises(ValueError):
        t.record(tmp_path / "r.json", [], "make it", 0, "-", "-", speed=math.inf)
    assert "<script>" not in t.ResultsTable([t.measured("<script>", "x", [1.0])]).to_html()


def test_failures_are_counted_not_averaged():
    row = t.measured("copy", "PESQ", [2.0, None, math.nan, 4.0])
    assert (row.value, row.n, row.failed) == (3.0, 4, 2)
    assert t.measured("voice", "MCD", [5.0, math.inf]).value == math.inf
