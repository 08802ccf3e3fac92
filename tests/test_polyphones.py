"""A network for polyphones: its answers against pypinyin, what it is fed, its files; the network itself is a stub."""
import re, sys, types
import numpy as np, pytest
from latentspeech import polyphones as P
from latentspeech.files import MissingExtra
from latentspeech.text import TextError, explain, to_pinyin

VOCABULARY = "[PAD] [UNK] [CLS] [SEP] 我 們 行 昨 天 開 門 的 銀 ok".split()
TABLE = [("行", "ㄒㄧㄥ2"), ("行", "ㄏㄤ2"), ("行", "ㄏㄥ2"), ("的", "ㄉㄜ5"), ("的", "ㄉㄧ4"), ("開", "ㄎㄞ1")]

class Stub:
    "Answer with the label that stands in `wish`, and with forbidden ones even louder; keep what came in."
    def __init__(self, labels, wish):
        self.labels, self.wish, self.fed = labels, wish, []
    def get_inputs(self):
        names = "input_ids token_type_ids attention_mask phoneme_mask char_ids position_ids".split()
        return [types.SimpleNamespace(name=n, shape=["n", len(self.labels)] if n == "phoneme_mask" else ["n", "t"])
                for n in names]
    def run(self, outputs, feed):
        self.fed.append(feed)
        chances = np.where(feed["phoneme_mask"] > 0, 0.1, 0.9)
        for label in self.wish:
            chances[:, self.labels.index(label)] = 0.5
        return [chances]

@pytest.fixture
def folder(tmp_path, monkeypatch):
    "A folder as g2pW is published, and an ONNX Runtime whose sessions are stubs."
    (tmp_path / "g2pw.onnx").write_bytes(b"stub")
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY), "utf8")
    (tmp_path / "POLYPHONIC_CHARS.txt").write_text("\n".join(map("\t".join, TABLE)) + "\n", "utf8")
    (tmp_path / "bert-base-chinese_s2t_dict.txt").write_text("们\t們\n开\t開\n门\t門\n银\t銀\n", "utf8")
    stub = Stub(sorted({reading for _, reading in TABLE}), ["ㄏㄤ2", "ㄉㄧ4"])
    def session(path, providers):
        assert path == str(tmp_path / "g2pw.onnx") and providers == ["CPUExecutionProvider"]
        return stub
    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(InferenceSession=session))
    return tmp_path, stub

def test_bopomofo_against_pypinyin():
    "Every reading of every common character, spelled in both ways."
    from pypinyin import Style, pinyin
    characters = [chr(c) for c in range(0x4e00, 0x9fa6)]
    seen = set()
    def spelled(style):
        return pinyin(characters, style=style, heteronym=True, neutral_tone_with_five=True)
    for written, said in zip(spelled(Style.BOPOMOFO), spelled(Style.TONE3)):
        if len(written) == len(said) == 1 and re.fullmatch("[a-zü]+[1-5]", said[0]):
            tone = {"ˊ": "2", "ˇ": "3", "ˋ": "4", "˙": "5"}.get(written[0][-1], "1")
            base = re.sub("[ˊˇˋ˙1-5]", "", written[0])
            want = said[0].replace("ü", "v")
            assert P.bopomofo_to_pinyin(base + said[0][-1]) == want and tone == said[0][-1]
            seen.add(base)
    assert len(seen) > 380

@pytest.mark.parametrize("bad", ["", "2", "ㄏㄤ", "hang2", "ㄏㄤ6", "ㄤㄏ2", "ㄧㄦ2"])
def test_what_is_no_bopomofo(bad):
    with pytest.raises(P.PolyphoneError, match="no syllable"):
        P.bopomofo_to_pinyin(bad)

def test_what_the_network_is_fed(folder):
    path, stub = folder
    network = P.load_g2pw(path)
    assert network("我们行的ok开门", [2, 3, 0]) == {2: "hang2", 3: "di4"}      # 我 has one reading, and is left out
    feed = stub.fed[0]
    row = [VOCABULARY.index(token) for token in "[CLS] 我 們 行 的 ok 開 門 [SEP]".split()]
    assert feed["input_ids"].tolist() == [row, row] and feed["position_ids"].tolist() == [3, 4]
    assert feed["attention_mask"].tolist() == [[1] * 9] * 2 and not feed["token_type_ids"].any()
    assert feed["char_ids"].tolist() == [sorted({c for c, _ in TABLE}).index(c) for c in "行的"]
    allowed = [{stub.labels[i] for i in np.flatnonzero(mask)} for mask in feed["phoneme_mask"]]
    assert allowed == [{"ㄒㄧㄥ2", "ㄏㄤ2", "ㄏㄥ2"}, {"ㄉㄜ5", "ㄉㄧ4"}]
    assert {name: array.dtype.kind for name, array in feed.items()} == dict.fromkeys(feed, "i") | {"phoneme_mask": "f"}

def test_windows_and_batches(folder):
    path, stub = folder
    network = P.load_g2pw(path)
    text = "我" * 40 + "行" + "门" * 40
    network(text, [40])
    assert stub.fed[0]["input_ids"].shape == (1, 34) and stub.fed[0]["position_ids"].tolist() == [17]
    network.batch = 4
    assert len(network("行" * 10, list(range(10)))) == 10 and [len(f["char_ids"]) for f in stub.fed[1:]] == [4, 4, 2]
    assert network("", []) == network("我们", [0, 1]) == {}

def test_labels_may_name_the_character_too(folder, monkeypatch):
    path, _ = folder
    stub = Stub(sorted(f"{c} {r}" for c, r in TABLE), ["行 ㄏㄥ2"])
    monkeypatch.setattr(sys.modules["onnxruntime"], "InferenceSession", lambda path, providers: stub)
    (path / "POLYPHONIC_CHARS.txt").write_text("\n".join(map("\t".join, [*TABLE, ("珩", "ㄏㄥ2")])) + "\n", "utf8")
    stub.labels = sorted(f"{c} {r}" for c, r in [*TABLE, ("珩", "ㄏㄥ2")])
    assert P.load_g2pw(path)("行", [0]) == {0: "heng2"}

def test_the_front_end_asks_about_what_no_word_decides(folder):
    network = P.load_g2pw(folder[0])
    assert to_pinyin("我们行昨天开门")[2] == "xing2"
    assert to_pinyin("我们行昨天开门", reader=network)[2] == "hang2"
    assert "read by the sentence" in repr(explain("我们行昨天开门", reader=network))
    assert to_pinyin("行(xing2)", reader=network) == ["xing2"] and to_pinyin("旅行", reader=network) == ["lv3", "xing2"]
    asked = []
    def spy(text, places):
        asked.extend(text[place] for place in places)
        return {}
    assert to_pinyin("他行，一不，旅行3次ok花儿", {"次": "ci4"}, reader=spy) == to_pinyin("他行，一不，旅行3次ok花儿")
    assert "行" in asked and not {"一", "不", "旅", "儿", "，"} & {*asked}

def test_a_reader_that_answers_nonsense_is_refused():
    with pytest.raises(TextError, match="isn't toned pinyin"):
        to_pinyin("行", reader=lambda text, places: {places[0]: "xyz"})

def test_files_and_packages_that_are_missing(folder, monkeypatch):
    path, _ = folder
    (path / "POLYPHONIC_CHARS.txt").write_text("行\tㄏㄤ2\n", "utf8")
    with pytest.raises(P.PolyphoneError, match="fetch both from one release") as error:
        P.load_g2pw(path)
    assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"latentspeech\[g2pw\]"):
        P.load_g2pw(path)
    (path / "vocab.txt").unlink()
    with pytest.raises(P.PolyphoneError, match="lacks vocab.txt;"):
        P.load_g2pw(path)

def test_a_real_graph_runs(folder, monkeypatch):
    "A network of one node that prefers the first answer that the mask allows, through the true ONNX Runtime."
    path, stub = folder
    monkeypatch.delitem(sys.modules, "onnxruntime")
    onnx = pytest.importorskip("onnx", reason="onnx comes with the onnx extra")
    pytest.importorskip("onnxruntime", reason="onnxruntime comes with the g2pw extra")
    kinds = {"input_ids": ["n", "t"], "token_type_ids": ["n", "t"], "attention_mask": ["n", "t"],
             "phoneme_mask": ["n", len(stub.labels)], "char_ids": ["n"], "position_ids": ["n"]}
    def info(name, shape):
        kind = onnx.TensorProto.FLOAT if name in ("phoneme_mask", "probs") else onnx.TensorProto.INT64
        return onnx.helper.make_tensor_value_info(name, kind, shape)
    node = onnx.helper.make_node("Identity", ["phoneme_mask"], ["probs"])
    graph = onnx.helper.make_graph([node], "stub", [info(*kind) for kind in kinds.items()],
                                   [info("probs", kinds["phoneme_mask"])])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), path / "g2pw.onnx")
    assert P.load_g2pw(path)("我们行的", [2, 3]) == {2: "hang2", 3: "de5"}
