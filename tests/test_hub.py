"""A hub in a folder holds what was pushed, and gives it back; nothing but weights, cards, sounds and a page travels."""
import json, shutil, sys, types
from fnmatch import fnmatch
from pathlib import Path
import pytest
import latentspeech
from latentspeech import cli
from latentspeech.hub import find_parts, front_matter, name_licence, parse_address, push_weights, write_card
from latentspeech.weights import PretrainedError, load_weights

SHIPPED = Path(latentspeech.__file__).parent / "pretrained"


class FakeHub(types.ModuleType):
    "Keep repositories as folders: one for each revision."
    def __init__(self, root):
        super().__init__("huggingface_hub")
        self.root, self.calls, self.full = Path(root), [], False

    def HfApi(self):
        return self

    def create_repo(self, repo_id, *, private, exist_ok):
        assert exist_ok
        self.calls.append(("create", repo_id, private))

    def create_branch(self, repo_id, *, branch, exist_ok):
        assert exist_ok
        self.calls.append(("branch", repo_id, branch))

    def upload_folder(self, *, repo_id, folder_path, revision, commit_message):
        if self.full:
            raise ConnectionError("507: no room\nfor more")
        shutil.copytree(folder_path, self.root / repo_id / (revision or "main"), dirs_exist_ok=True)

    def snapshot_download(self, repo_id, revision=None, allow_patterns=("*",)):
        kept = self.root / repo_id / (revision or "main")
        if not kept.is_dir():
            raise FileNotFoundError(f"404: {repo_id}@{revision}")
        to = self.root / "downloaded" / repo_id / (revision or "main")
        for file in kept.rglob("*"):
            name = str(file.relative_to(kept))
            if file.is_file() and any(fnmatch(name, p) for p in allow_patterns):
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, to / name)
        return str(to)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


@pytest.fixture
def trained(tmp_path):
    "A folder as training leaves it: weights and cards under training's names, and what is nobody's business."
    folder = tmp_path / "weights"
    folder.mkdir()
    for part in ("voice", "autoencoder", "judge"):
        for suffix in (".json", ".safetensors"):
            shutil.copy(SHIPPED / f"mini-{part}{suffix}", folder)
    for private in ("step-000010.pt", "latents/latents-1.safetensors", ".env", "recordings/me.wav", "run.jsonl"):
        (folder / private).parent.mkdir(exist_ok=True)
        (folder / private).write_bytes(b"private")
    return folder


def test_a_table_without_rows_is_no_figure(hub, trained, tmp_path):
    (tmp_path / "table.json").write_text('{"rows": []}')
    cli.push(str(trained), "hf://ann/voice", figures=str(tmp_path / "table.json"), texts="")
    assert "Not measured yet" in (hub.root / "ann/voice/main/README.md").read_text("utf8")


def test_what_training_writes_is_pushed_pulled_and_speaks(hub, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = dict(row="natural", metric="SER (in-house)", value=0.04, low=0.02, high=0.06, n=9, role="natural")
    table = dict(rows=[row])
    (tmp_path / "table.json").write_text(json.dumps(table))
    sent = cli.push(str(trained), "hf://ann/voice", figures="table.json", texts="你好。")
    names = sorted(f"mini-{part}{suffix}" for part in ("autoencoder", "judge", "voice")
                     for suffix in (".json", ".safetensors"))
    assert sent["files"] == sorted(["README.md", "sounds/1.flac", *names])
    there = hub.root / "ann/voice/main"
    assert sorted(str(f.relative_to(there)) for f in there.rglob("*") if f.is_file()) == sent["files"]
    assert all((there / name).read_bytes() == (trained / name).read_bytes() for name in names)
    page = (there / "README.md").read_text("utf8")
    assert "SER (in-house)" in page and "[sounds/1.flac](sounds/1.flac)" in page and "hf://ann/voice" in page
    for part in ("voice", "autoencoder", "judge"):
        assert load_weights("hf://ann/voice", part)[1] == load_weights(trained, part)[1]
    here, hubs = (cli.speak("你好。", preset=name, out=f"{i}.wav")
                  for i, name in enumerate((str(trained), "hf://ann/voice")))
    assert here["pinyin"] == hubs["pinyin"] and Path("0.wav").read_bytes() == Path("1.wav").read_bytes()


def test_a_revision_has_its_own_weights(hub, trained):
    push_weights(trained, "hf://ann/voice@v1.0", private=True)
    assert hub.calls == [("create", "ann/voice", True), ("branch", "ann/voice", "v1.0")]
    assert load_weights("hf://ann/voice@v1.0", "voice")[1] == load_weights(trained, "voice")[1]
    with pytest.raises(PretrainedError, match="no voice weights at 'hf://ann/voice'.*404"):
        load_weights("hf://ann/voice", "voice")


def test_the_page_begins_with_facts_that_a_hub_can_read(trained):
    yaml = pytest.importorskip("yaml")
    cards = find_parts(trained)
    for licence in ("apache-2.0", "other"):
        facts = yaml.safe_load(write_card(cards, "ann/voice", licence).split("---")[1])
        assert facts["license"] == licence and facts["pipeline_tag"] == "text-to-speech" and facts["language"] == ["zh"]
        assert ("license_name" in facts) == (licence == "other")
    assert yaml.safe_load(front_matter(cards, "a: b\n# c").split("---")[1])["license"] == "a: b\n# c"


@pytest.mark.parametrize("terms, name", [
    (["Apache-2.0: espeak"], "apache-2.0"), (["Apache-2.0: a", "CC BY-SA: b"], "other"), (["see the corpus"], "other"),
    (["Apache-2.0: a; CC BY-SA: b"], "other"), ([None], "other"), ([""], "other")])
def test_the_licence_is_the_corpus_own(terms, name):
    assert name_licence({str(i): dict(licence=term) for i, term in enumerate(terms)}) == name


def test_what_a_card_says_stays_in_its_cell():
    page = write_card({"x-voice": dict(corpus="a | b\n# c", licence="see\nthe corpus")}, "ann/x")
    assert "| x-voice | a / b # c | not said | not said | see the corpus |" in page


@pytest.mark.parametrize("address", ["ann/voice", "hf://voice", "hf://ann/voice@", "hf://../x", "hf://a/..",
                                     "hf://a/b/c", "hf://a/b@../../x", "https://hub/a/b", "hf://a/b c", ""])
def test_what_is_no_address_is_refused_before_anything_is_read(hub, address):
    with pytest.raises(PretrainedError, match="is no address on a hub"):
        parse_address(address)
    with pytest.raises(PretrainedError, match="is no address on a hub"):
        push_weights("nowhere", address)
    assert not hub.calls


def test_damage_stays_at_home(hub, trained):
    data = bytearray((trained / "mini-judge.safetensors").read_bytes())
    data[-1] ^= 1
    (trained / "mini-judge.safetensors").write_bytes(data)
    with pytest.raises(PretrainedError, match="mini-judge.safetensors is damaged"):
        push_weights(trained, "hf://ann/voice")
    (trained / "mini-judge.json").unlink()
    with pytest.raises(PretrainedError, match="has no readable card"):
        push_weights(trained, "hf://ann/voice")
    assert not hub.calls and not hub.root.exists()


def test_nothing_and_two_of_a_kind_are_refused(hub, trained, tmp_path):
    with pytest.raises(PretrainedError, match="holds no finished weights"):
        push_weights(tmp_path / "weights/latents", "hf://ann/voice")
    with pytest.raises(PretrainedError, match="holds two sets of autoencoder weights"):
        push_weights(SHIPPED, "hf://ann/voice")
    assert not hub.calls


def test_a_hub_that_says_no_is_one_line(hub, trained):
    hub.full = True
    with pytest.raises(PretrainedError) as caught:
        push_weights(trained, "hf://ann/voice")
    assert "ann/voice took nothing (507: no room for more); log in" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_extra_the_shell_says_what_to_install(trained, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert cli.main(["push", str(trained), "hf://ann/voice", "--texts", ""]) == 2
    assert "latentspeech[hub]" in capsys.readouterr().err


def test_the_client_takes_the_calls_that_are_made():
    inspect, hub = pytest.importorskip("inspect"), pytest.importorskip("huggingface_hub")
    for name, words in (("create_repo", ("repo_id", "private", "exist_ok")), ("create_branch", ("branch", "exist_ok")),
                        ("upload_folder", ("repo_id", "folder_path", "revision", "commit_message"))):
        assert set(words) <= set(inspect.signature(getattr(hub.HfApi, name)).parameters)
