"""The Mandarin front end against tables, other libraries, labelled speech and all of Unicode."""
import csv, os, re, time, unicodedata, warnings
from pathlib import Path
import pytest
from hypothesis import given, settings, strategies as st
from pypinyin import Style, pinyin
from latentspeech import text as T

HERE = Path(__file__).parent
DATA = Path(os.environ.get("LATENTSPEECH_DATA", HERE.parent.parent / "shared" / "data"))

def rows(path): return list(csv.DictReader(path.open(encoding="utf8"), delimiter="\t", quoting=csv.QUOTE_NONE))

CASES = [(r["category"], r["text"].replace("\\n", "\n"), r["expected"]) for r in rows(HERE / "data" / "normalization.tsv")]

@pytest.mark.filterwarnings("ignore:not said")
@pytest.mark.parametrize("category, text, expected", CASES)
def test_normalization_table(category, text, expected):
    assert T.normalize(text) == expected
    assert T.normalize(expected) == expected

def common_syllables():
    "Every toned syllable of every character of GB2312."
    han = [bytes([a, b]).decode("gb2312") for a in range(0xB0, 0xF8) for b in range(0xA1, 0xFF) if (a, b) < (0xD7, 0xFA) or a > 0xD7]
    read = {p for c in han for p in pinyin(c, style=Style.TONE3, heteronym=True, neutral_tone_with_five=True)[0]}
    assert len(han) == 6763 and len(read) > 1300
    return sorted(read)

def test_split_and_join_are_a_bijection():
    syllables = common_syllables()
    parts = [T.split_syllable(s) for s in syllables]
    assert [T.join_syllable(*p) for p in parts] == syllables and len(set(parts)) == len(parts)
    assert all(i in ("", *T.INITIALS) and f in T.FINALS and 1 <= t <= 5 for i, f, t in parts)

def test_split_agrees_with_pypinyin():
    "pypinyin's own initials and strict finals are the oracle (it has no names for the buzzing vowels)."
    from pypinyin.contrib.tone_convert import to_finals, to_initials
    for s in common_syllables():
        initial, final, tone = T.split_syllable(s)
        if final in ("mm", "nn", "ng", "eh", "io"): continue  # pypinyin has o for yo
        assert initial == to_initials(s, strict=True), s
        assert re.sub("^i+$", "i", final) == to_finals(s, strict=True, v_to_u=False).replace("ü", "v"), s

def test_curled_finals_round_trip():
    for s in common_syllables():
        initial, final, tone = T.split_syllable(s)
        if final in ("er", "mm", "nn", "ng", "eh") or (not initial and final == "e"): continue
        curled = s[:-1] + "r" + s[-1]
        assert T.join_syllable(*T.split_syllable(curled)) == curled

@pytest.mark.parametrize("bad", ["", "hao", "hao0", "hao6", "jv4", "HAO3", "xyz1", "r5", "hao33", "hǎo"])
def test_split_refuses(bad):
    with pytest.raises(T.TextError): T.split_syllable(bad)

def test_symbols():
    assert T.SYMBOLS[0] == "<pad>" and T.SYMBOLS[1:3] == ["sil", "sp"] and len(T.SYMBOLS) == len(set(T.SYMBOLS)) == 104

@pytest.mark.parametrize("text, expected", [
    ("你好", "ni2 hao3"), ("也可以", "ye3 ke2 yi3"), ("我想买两把好雨伞", "wo2 xiang2 mai2 liang2 ba2 hao3 yu2 san3"), ("你，好", "ni3 hao3"),
    ("一个", "yi2 ge5"), ("一天", "yi4 tian1"), ("第一", "di4 yi1"), ("一百一十一", "yi4 bai3 yi4 shi2 yi1"), ("看一看", "kan4 yi2 kan4"),
    ("统一", "tong3 yi1"), ("不对", "bu2 dui4"), ("不好", "bu4 hao3"), ("好不好", "hao3 bu5 hao3"), ("不是", "bu2 shi4"), ("一月一号", "yi1 yue4 yi1 hao4"),
    ("妈妈", "ma1 ma5"), ("看看", "kan4 kan5"), ("我们", "wo3 men5"), ("孩子", "hai2 zi5"), ("石头", "shi2 tou5"), ("东西", "dong1 xi5"), ("我去过", "wo3 qu4 guo5"),
    ("他高兴地说", "ta1 gao1 xing4 de5 shuo1"), ("跑得快", "pao3 de5 kuai4"), ("你得走", "ni2 dei2 zou3"), ("得到", "de2 dao4"), ("地方", "di4 fang5"),
    ("银行", "yin2 hang2"), ("行人", "xing2 ren2"), ("长大", "zhang3 da4"), ("长城", "chang2 cheng2"), ("音乐", "yin1 yue4"), ("快乐", "kuai4 le4"),
    ("重庆", "chong2 qing4"), ("重要", "zhong4 yao4"), ("会计", "kuai4 ji5"), ("项目的", "xiang4 mu4 de5"), ("目的", "mu4 di4"),
    ("花儿", "huar1"), ("女儿", "nv3 er2"), ("一点儿", "yi4 dianr3"), ("這個", "zhe4 ge5"), ("我們説", "wo3 men5 shuo1"), ("旅行", "lv3 xing2"), ("略", "lve4"),
    ("上个月", "shang4 ge5 yue4"), ("慢慢地", "man4 man4 de5"), ("很长", "hen3 chang2"), ("长得高", "zhang3 de5 gao1"),
    ("APP", "ei1 pi1 pi1"), ("Ｐ", "pi1"), ("12", "shi2 er4"), ("我行(hang2)", "wo3 hang2"), ("好（hao4）奇", "hao4 qi2")])
def test_readings(text, expected): assert T.to_pinyin(text) == expected.split()

def test_overrides_and_dictionary():
    assert T.to_pinyin("朝阳", {"朝阳": "chao2 yang2"}) == ["chao2", "yang2"]
    assert T.to_pinyin("Java课", {"Java": "zha1 wa1"}) == ["zha1", "wa1", "ke4"]
    with pytest.raises(T.TextError, match="needs 2 syllables"): T.to_pinyin("朝阳", {"朝阳": "chao2"})
    with pytest.raises(T.TextError, match="isn't toned pinyin"): T.to_pinyin("行(xyz1)")
    assert T.to_pinyin("花儿", erhua="separate") == ["hua1", "er2"] and T.to_pinyin("这个", colloquial=True) == ["zhei4", "ge5"]

@pytest.mark.parametrize("bad, said", [("", "nothing to say"), ("  \n", "nothing to say"), ("。。。", "nothing to say"), ("😀", "nothing to say"), ("ひらがな", "HIRAGANA"),
    ("Жук", "CYRILLIC"), ("한국", "HANGUL"), ("\ue000", "U\\+E000"), (None, "must be a string")])
def test_typed_errors(bad, said):
    with pytest.raises(T.TextError, match=said) as error: T.front_end(bad)
    assert "\n" not in str(error.value)

def test_nothing_is_dropped_in_silence():
    assert T.front_end("你好😀😀").warnings == ["not said: '😀' (GRINNING FACE), 2 times"]
    with pytest.warns(UserWarning, match="GRINNING FACE"): T.normalize("好😀")
    with pytest.warns(UserWarning, match="ASTERISK"): T.to_pinyin("好*")

def test_phones_of_a_sentence():
    phones = T.front_end("行(hang2)，你好！")
    assert phones.symbols == "sil h ang sp n i h ao sil".split() and phones.tones == [0, 0, 2, 0, 0, 2, 0, 3, 0]
    assert phones.syllable == [-1, 0, 0, -1, 1, 1, 2, 2, -1] and len(phones) == 9
    assert T.syllables_from_phones(phones.symbols, phones.tones) == phones.pinyin
    assert [T.SYMBOLS[i] for i in phones.ids] == phones.symbols and phones.tone_ids.tolist() == phones.tones

def test_explain_names_its_rules():
    shown = T.explain("你好，3.5%")
    assert "3 before 3 rises" in repr(shown) and "per cent" in repr(shown) and "<table>" in shown._repr_html_()
    assert "<b>" not in T.explain("好<b>好")._repr_html_()

def test_split_sentences_loses_nothing():
    story = "“你好！”他说。今天3.5度，很冷；是吗？\n" * 9 + "没有标点" * 50
    pieces = T.split_sentences(story, 30)
    assert "".join(pieces) == story and max(map(len, pieces)) <= 32 and all(re.search(r"\w", p) for p in pieces)
    assert T.split_sentences("") == []

@pytest.mark.parametrize("text", ["今天我去银行取一万两千元，不知道行不行。" * 500, "1" * 10_000, "1-" * 5000, "的" * 10_000, "2025-09-28，" * 900, "3:2/1.5%" * 1250, "1+" * 5000 + "=1"])
def test_ten_thousand_characters(text):
    T.front_end("热身"); start = time.perf_counter()
    T.front_end(text); assert time.perf_counter() - start < 3  # 1 s on an idle machine

ANYTHING = st.text(st.one_of(st.characters(), st.sampled_from("0123456789-.:/%,年月日个两一不儿得地行 AaMkg°C¥$()#12345+×=~，。\u200b😀")), max_size=40)

@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_any_string_gives_phones_or_a_typed_error(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "".join(T.split_sentences(text, 10)) == text
        try: normal = T.normalize(text)
        except T.TextError: return
        assert T.normalize(normal) == normal
        try: phones = T.front_end(text)
        except T.TextError as error: assert "\n" not in str(error); return
    assert phones.pinyin and set(phones.symbols) <= set(T.SYMBOLS) and phones.ids.shape == phones.tone_ids.shape

LABELS = DATA / "magicdata-cs" / "sentences.tsv"
@pytest.mark.skipif(not LABELS.exists(), reason=f"labelled sentences are absent: {LABELS}")
@pytest.mark.parametrize("options, limit", [({}, 0.04), ({"colloquial": True}, 0.02), ({"segmenter": "jieba", "colloquial": True}, 0.02)])
def test_labelled_sentences(options, limit):
    "Share of wrong syllables; tone 6 counts as 2, English and prosody marks are left out."
    from latentspeech.metrics import edit_distance
    if "segmenter" in options: pytest.importorskip("jieba", reason="jieba comes with the zh extra")
    wrong = total = 0
    for row in rows(LABELS):
        said = [p.replace("6", "2") for p in row["pinyin"].split() if re.fullmatch("[a-zê]+[1-6]", p)]
        text = re.sub("[A-Za-z]+( +[A-Za-z]+)*", "、", re.sub("#[1-4]", "", row["text"]))
        wrong += edit_distance(said, T.to_pinyin(text, **options)); total += len(said)
    print(f"{options}: {wrong} of {total} syllables wrong, {wrong / total:.2%}")
    assert total > 4500 and wrong / total <= limit

def test_missing_extra_is_named(monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(T.MissingExtra, match="latentspeech\\[zh\\]"): T.to_pinyin("你好", segmenter="jieba")
