"""Damage under a valid hash: cards, weights and checkpoints that vouch for themselves and are wrong nevertheless."""
import copy, json, os, random
from pathlib import Path
import pytest, torch
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import AutoencoderConfig
from latentspeech.files import sha256
from latentspeech.synthesis import LatentSpeech
from latentspeech.judge import Judge
from latentspeech.weights import PretrainedError
from latentspeech.training import CheckpointCorrupt, latest_checkpoint

CASES = int(os.environ.get("FIRE_FUZZ", 40))    # `make test-fire` asks for 400
WRONG = (None, 0, -1, 1e300, float("nan"), "", "x", [], {}, [[]], {"a": 1}, True, "../../x", 10 ** 30)


def places(tree, path=()):
    "Yield the path of every value in a tree of dicts and lists."
    yield path
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in steps:
        yield from places(value, (*path, key))


def damaged(tree, draw):
    "Return a copy with one value replaced, one key removed, or everything replaced."
    tree, path = copy.deepcopy(tree), draw.choice([p for p in places(tree) if p])
    holder = tree
    for key in path[:-1]:
        holder = holder[key]
    if draw.random() < 0.3:
        del holder[path[-1]]
    else:
        holder[path[-1]] = draw.choice(WRONG)
    return tree


def store(folder: Path, name: str, data: bytes, card: dict, honest: bool = True):
    "Write weights and a card, which vouches for them."
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.safetensors").write_bytes(data)
    if honest and isinstance(card, dict) and "sha256" in card:
        card = {**card, "sha256": sha256(data)}
    (folder / f"{name}.json").write_text(json.dumps(card), "utf8")


@pytest.mark.parametrize("part, load", [("autoencoder", Autoencoder), ("judge", Judge), ("voice", LatentSpeech)])
def test_a_card_that_is_wrong_is_a_typed_error_or_harmless(part, load, tmp_path):
    shipped = Path(Autoencoder.__init__.__globals__["__file__"]).parent / "pretrained"
    name, draw, refused = {"voice": "mini-voice"}.get(part, f"mini-{part}"), random.Random(part), 0
    if part == "voice":   # it wants its autoencoder beside it
        for suffix in (".safetensors", ".json"):
            (tmp_path / f"mini-autoencoder{suffix}").write_bytes((shipped / f"mini-autoencoder{suffix}").read_bytes())
    data = (shipped / f"{name}.safetensors").read_bytes()
    card = json.loads((shipped / f"{name}.json").read_text("utf8"))
    card.pop("curve", None)
    for _ in range(CASES):
        store(tmp_path, name, data, damaged(card, draw))
        try:
            load.from_pretrained(tmp_path)
        except PretrainedError as error:
            refused += 1
            assert str(error)
    print(f"counted: {part}: {CASES} cards, {refused} refused")
    assert refused >= CASES / 8


def test_weights_that_are_wrong_are_typed_errors(tmp_path):
    Autoencoder(AutoencoderConfig(channels=(8, 8, 8, 8))).save_pretrained(tmp_path, "tiny", {})
    path, draw, refused = next(tmp_path.glob("*.safetensors")), random.Random(0), 0
    data, card = path.read_bytes(), json.loads(path.with_suffix(".json").read_text("utf8"))
    for _ in range(CASES):
        if draw.random() < 0.5:
            bad = data[:draw.randrange(len(data))]                       # cut short
        else:
            at, bad = draw.randrange(200), bytearray(data)               # in the header, where sizes and names stand
            bad[at] = draw.randrange(256)
        store(tmp_path, path.stem, bytes(bad), card)
        try:
            Autoencoder.from_pretrained(tmp_path)
        except PretrainedError:
            refused += 1
    print(f"counted: weights: {CASES} files, {refused} refused")
    assert refused > CASES / 2


@pytest.mark.parametrize("what", [b"", b"[" * 100_000, b"null", b"[]", b"{}", b'{"sha256": 5}', b"\xff\xfe",
                                  b'{"step": "x", "sha256": null, "bytes": -1}'])
def test_a_manifest_that_is_wrong_is_a_typed_error(what, tmp_path):
    (tmp_path / "step-000000001.pt").write_bytes(b"x")
    (tmp_path / "step-000000001.json").write_bytes(what)
    with pytest.raises(CheckpointCorrupt):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize("state", [{}, [], None, {"step": "x"}, {"step": 1}, torch.zeros(3)])
def test_a_checkpoint_of_something_else_is_a_typed_error(state, tmp_path):
    "The hash is right, the content is not: it must not reach the trainer as a KeyError."
    from test_training import CONFIG, make_task
    from latentspeech.training import fit
    fit(make_task(), CONFIG, tmp_path, device="cpu", progress=False)
    manifest = max(tmp_path.glob("step-*.json"))
    torch.save(state, manifest.with_suffix(".pt"))
    facts = json.loads(manifest.read_text())
    data = manifest.with_suffix(".pt").read_bytes()
    facts.update({k: sha256(data) for k in facts if "sha" in k}, **({"bytes": len(data)} if "bytes" in facts else {}))
    for other in tmp_path.glob("step-*"):
        if other.stem != manifest.stem:
            other.unlink()
    manifest.write_text(json.dumps(facts))
    with pytest.raises(CheckpointCorrupt):
        fit(make_task(), CONFIG, tmp_path, device="cpu", progress=False)
