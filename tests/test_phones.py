"""Syllables come apart and together again, as other libraries know them."""
import re
import pytest
from pypinyin import Style, pinyin
from latentspeech import phones as P

def common_syllables():
    "Every toned syllable of every character of GB2312."
    han = [bytes([a, b]).decode("gb2312") for a in range(0xB0, 0xF8) for b in range(0xA1, 0xFF)
           if (a, b) < (0xD7, 0xFA) or a > 0xD7]
    read = {p for c in han for p in pinyin(c, style=Style.TONE3, heteronym=True, neutral_tone_with_five=True)[0]}
    assert len(han) == 6763 and len(read) > 1300
    return sorted(read)

def test_split_and_join_are_a_bijection():
    syllables = common_syllables()
    parts = [P.split_syllable(s) for s in syllables]
    assert [P.join_syllable(*p) for p in parts] == syllables and len(set(parts)) == len(parts)
    assert all(i in ("", *P.INITIALS) and f in P.FINALS and 1 <= t <= 5 for i, f, t in parts)

def test_split_agrees_with_pypinyin():
    "pypinyin's own initials and strict finals are the oracle (it has no names for the buzzing vowels)."
    from pypinyin.contrib.tone_convert import to_finals, to_initials
    for s in common_syllables():
        initial, final, tone = P.split_syllable(s)
        if final in ("mm", "nn", "ng", "eh", "io"):
            continue  # pypinyin has o for yo
        assert initial == to_initials(s, strict=True), s
        assert re.sub("^i+$", "i", final) == to_finals(s, strict=True, v_to_u=False).replace("ü", "v"), s

def test_curled_finals_round_trip():
    for s in common_syllables():
        initial, final, tone = P.split_syllable(s)
        if final in ("er", "mm", "nn", "ng", "eh") or (not initial and final == "e"):
            continue
        curled = s[:-1] + "r" + s[-1]
        assert P.join_syllable(*P.split_syllable(curled)) == curled

@pytest.mark.parametrize("bad", ["", "hao", "hao0", "hao6", "jv4", "HAO3", "xyz1", "r5", "hao33", "hǎo"])
def test_split_refuses(bad):
    with pytest.raises(P.TextError):
        P.split_syllable(bad)

def test_symbols():
    assert P.SYMBOLS[0] == "<pad>" and P.SYMBOLS[1:3] == ["sil", "sp"] and len(P.SYMBOLS) == len(set(P.SYMBOLS)) == 104

def test_phones_and_back():
    phones = P.to_phones(["sil", "hang2", "sp", "ni2", "hao3", "sil"])
    assert phones.symbols == "sil h ang sp n i h ao sil".split() and phones.tones == [0, 0, 2, 0, 0, 2, 0, 3, 0]
    assert phones.syllable == [-1, 0, 0, -1, 1, 1, 2, 2, -1] and len(phones) == 9
    assert P.syllables_from_phones(phones.symbols, phones.tones) == phones.pinyin
    assert [P.SYMBOLS[i] for i in phones.ids] == phones.symbols and phones.tone_ids.tolist() == phones.tones

def test_simplify_leaves_only_plain_finals():
    said = P.simplify([s[:-1] + "r" + s[-1] for s in ("hua1", "dian3", "wan2")] + ["ng4", "m2", "ê4", "zhe4", "sp"])
    assert said == ["hua1", "er5", "dian3", "er5", "wan2", "er5", "en4", "en2", "ei4", "zhe4", "sp"]
