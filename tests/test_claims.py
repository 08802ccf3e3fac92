"""What lessons say of the code is true: figures in their prose and in their stored outputs are computed again here."""
import ast, re
from functools import cache
from pathlib import Path
import nbformat, pytest, torch
from torch.utils.flop_counter import FlopCounterMode
from latentspeech.autoencoder import Autoencoder
from latentspeech.config import PRESETS
from latentspeech.denoiser import Denoiser
from latentspeech.encoder import TextEncoder
from latentspeech.judge import Judge
from latentspeech.phones import SYMBOLS
from latentspeech.weights import load_weights

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = {p.stem: p for p in sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))}
NUMBERS = dict(zip("two three four five six seven eight nine ten twelve".split(), [*range(2, 11), 12]))


@cache
def lesson(name: str):
    "Read a lesson, found by its name without the number."
    path, = (p for stem, p in NOTEBOOKS.items() if stem[3:] == name)
    return nbformat.read(path, 4)


def prose(name: str) -> str:
    "Return all the words of a lesson, a line a paragraph."
    text = "\n\n".join(c.source for c in lesson(name).cells if c.cell_type == "markdown")
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)


def outputs(cell) -> str:
    "Return what a code cell printed or showed as text."
    parts = [o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in cell.get("outputs", [])]
    return "\n".join("".join(p) for p in parts)


def shown(name: str) -> str:
    "Return all that a lesson printed or showed as text."
    return "\n".join(outputs(c) for c in lesson(name).cells if c.cell_type == "code")


@cache
def networks(preset: str) -> dict:
    "Build the networks of a preset, the large ones without memory for their weights."
    p = PRESETS[preset]
    with torch.device("meta"):
        made = dict(autoencoder=Autoencoder(p.autoencoder), encoder=TextEncoder(p.encoder, len(SYMBOLS)),
                    denoiser=Denoiser(p.denoiser, p.encoder.width).eval())
    return made | dict(judge=Judge(p.judge))   # its mel filters are computed, so they want memory


def millions(preset: str, part: str) -> float:
    "Count the weights of a network."
    return sum(x.numel() for x in networks(preset)[part].parameters()) / 1e6


@cache
def gmac(preset: str, frames: int = 469) -> float:
    "Count the multiplications of one step of a denoiser on ten seconds of speech, text prepared."
    p, denoiser = PRESETS[preset], networks(preset)["denoiser"]
    with torch.device("meta"), torch.no_grad():
        z, t = torch.randn(1, 16, frames), torch.rand(1)
        prepared = denoiser.prepare(torch.randn(1, p.encoder.width, frames))
        with FlopCounterMode(display=False) as counter:
            denoiser(z, t, prepared=prepared)
    return counter.get_total_flops() / 2e9


def figures(text: str, pattern: str) -> list:
    "Find a claim; none found is an error, for then this file guards nothing."
    found = re.findall(pattern, text)
    assert found, f"nothing like {pattern!r}: if the lesson says it in other words, look for those"
    return found


def close(said: str, true: float) -> bool:
    "Say whether a figure as written is the true one, rounded to the digits it is given with."
    digits = len(said.partition(".")[2])
    return abs(float(said) - true) <= 0.5 * 10 ** -digits + 1e-9


def test_the_notation_counts_the_weights_of_every_preset():
    found = figures(shown("notation"), r"(tiny|mini|base|paper): ([\d.]+), ([\d.]+), ([\d.]+) million")
    assert {name for name, *_ in found} == set(PRESETS)
    for name, *said in found:
        for part, value in zip(("autoencoder", "encoder", "denoiser"), said):
            assert close(value, millions(name, part)), (name, part, value)


@pytest.mark.parametrize("part, name, network", [("encoder", "encoder", "TextEncoder("),
                                                 ("denoiser", "denoiser", "Denoiser(preset(")])
def test_a_lesson_says_how_large_its_network_is(part, name, network):
    cells = [c for c in lesson(name).cells if c.cell_type == "code" and network in c.source]
    said = [d for c in cells for d in re.findall(r"\{'\w+': [\d.]+[^{}]*'paper': [\d.]+\}", outputs(c))]
    assert said
    for table in said:
        for preset, value in ast.literal_eval(table).items():
            assert close(str(value), millions(preset, part)), (preset, value)


def test_the_denoiser_lesson_counts_its_work():
    found = figures(shown("denoiser"), r"'(\w+)': \{'gmac': ([\d.]+), 'convolutions': (\d+)")
    for preset, work, convolutions in found:
        assert close(work, gmac(preset)), (preset, work)
        assert int(convolutions) == 2 * PRESETS[preset].denoiser.layers + 3
    times, pieces = figures(prose("denoiser"), r"arithmetic is (\w+) times ours, and it is cut into (\d+) times")[0]
    assert NUMBERS[times] == round(gmac("paper") / gmac("base"))
    layers = {name: p.denoiser.layers for name, p in PRESETS.items()}
    assert int(pieces) == round((2 * layers["paper"] + 3) / (2 * layers["base"] + 3))


def test_layers_are_counted_right_everywhere():
    base, paper = (PRESETS[name] for name in ("base", "paper"))
    pattern = r"(\d+) layers and (\d+) steps, against `base` with (\d+) layers and (\d+) guided steps"
    for said in figures(prose("gpu_sampling"), pattern):
        assert [*map(int, said)] == [paper.denoiser.layers, paper.diffusion.n_steps,
                                     base.denoiser.layers, base.diffusion.n_steps]
    assert {int(n) for n in figures(shown("gpu_sampling"), r"x (\d+) layers")} == {base.denoiser.layers}
    for stem in NOTEBOOKS:
        wide = re.findall(r"(\w+) wide layers", prose(stem[3:]))
        assert all(int(NUMBERS.get(n, n)) == base.denoiser.layers for n in wide if n.isdigit() or n in NUMBERS), stem


def test_the_judge_says_how_large_it_is():
    for preset, value in figures(shown("judge"), r"(tiny|mini|base): ([\d.]+) M parameters"):
        assert close(value, millions(preset, "judge")), (preset, value)


def test_the_card_of_the_weights_gives_their_sizes():
    text = (ROOT / "latentspeech/pretrained/README.md").read_text("utf8")
    rows = figures(text, r"\| `(\w+)-(\w+)` \|.*\| ([\d.]+) M \| ([\d.]+) MB \|")
    files = sorted((ROOT / "latentspeech/pretrained").glob("*.safetensors"))
    assert {f"{name}-{part}" for name, part, *_ in rows} == {f.stem for f in files}
    for name, part, weights, size in rows:
        tensors, _ = load_weights(name, part)
        assert close(weights, sum(x.numel() for x in tensors.values()) / 1e6), (name, part, weights)
        assert close(size, (ROOT / f"latentspeech/pretrained/{name}-{part}.safetensors").stat().st_size / 1e6)


def test_the_ledger_knows_which_lessons_are_written():
    numbers = {stem[:2] for stem in NOTEBOOKS} - {"01"}   # the ledger's own lesson
    rows = re.findall(r"^\|.*\|([^|\n]*)\|$", "\n".join(c.source for c in lesson("notation").cells), re.M)
    bare = [row for row in rows if numbers & set(re.findall(r"(?<![\[\d])\d\d(?![\d\]_])", row))]
    assert rows and not bare, f"written, but not linked: {bare}"
    assert not re.search("still to be written|to be rebuilt|not built", prose("notation"))


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_links_name_the_number_of_the_lesson_they_lead_to(stem):
    wrong = [f"[{number}]({target})" for number, target in re.findall(r"\[(\d\d)\]\((\w+)\.ipynb", prose(stem[3:]))
             if target not in NOTEBOOKS or target[:2] != number]
    assert not wrong


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_what_a_cell_shows_is_stored(stem):
    empty = []
    for cell in lesson(stem[3:]).cells:
        if cell.cell_type != "code" or cell.outputs or re.search(r"#\| *(hide|eval: *false)", cell.source):
            continue
        tree = ast.parse(re.sub(r"^( *)[!%].*$", r"\1pass", cell.source, flags=re.M))
        last = tree.body[-1] if tree.body else None
        value = last.value if isinstance(last, ast.Expr) else None
        shows = isinstance(value, (ast.Name, ast.Dict, ast.List, ast.ListComp, ast.DictComp, ast.Subscript,
                                   ast.JoinedStr))
        called = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
        if (shows or called in ("play", "print", "compare")) and not cell.source.rstrip().endswith(";"):
            empty.append(f"{cell.id}: {cell.source.splitlines()[-1][:80]}")
    assert not empty
