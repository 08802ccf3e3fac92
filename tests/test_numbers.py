"Every rate, weight and seed stands in lesson 01: no other module of the library writes one down."
import ast, re
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = [p for p in sorted((ROOT / "latentspeech").glob("*.py")) if p.name not in ("config.py", "_modidx.py")]
TUNED = re.compile(r"(^|_)(lr|rate|rates|betas|momentum|decay|dropout|ema|warmup|gamma|weight|seed)$")
SEEDING = {"manual_seed", "default_rng", "Random", "RandomState"}
HARMLESS = {"clamp", "clamp_", "clamp_min", "clamp_max", "maximum", "minimum", "max", "min", "clip", "isclose",
            "allclose",
            "torch.clamp", "round"}
# what is no choice of ours: floors under a logarithm or a quotient, milliseconds, the noise of a drawing, a table,
# and how near an answer must come
TOLERANCES = {"0.0005", "0.001", "0.002", "0.005"}
ALLOWED = {"exercises": TOLERANCES,
           "autoencoder": {"1e-18"},
           "audio": {"default_rng(0)", "0.003", "0.002", "1e-05"}, "baselines": {"manual_seed(0)", "momentum=0.99"},
           "corpora": {"1e-09"}, "distances": {"1e-06", "1e-05"}, "espeak": {"ESPEAK_RATE=22050", "0.0002"},
           "forward_diffusion": {"0.0001", "0.008"}, "judge": {"0.0001", "1e-05", "0.001", "1e-06"},
           "losses": {"1e-06"}, "pqmf": {"1e-14", "1e-06", "1e-07"}, "readers": {"0.001"},
           "shards": {"1e-10", "0.001"}}


def number(node):
    "The value of a literal number, else None."
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    plain = isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
    return node.value if plain else None


def named_numbers(tree):
    "Defaults, keyword arguments and assignments whose name says that they are tuned: (name, number, line)."
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            a = node.args
            pairs = list(zip([*a.posonlyargs, *a.args][::-1], a.defaults[::-1]))
            pairs += zip(a.kwonlyargs, a.kw_defaults)
            yield from ((arg.arg, default, node.lineno) for arg, default in pairs if default)
        elif isinstance(node, ast.Call):
            yield from ((k.arg, k.value, node.lineno) for k in node.keywords if k.arg)
        elif isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
            yield node.target.id, node.value, node.lineno
        elif isinstance(node, ast.Assign):
            yield from ((t.id, node.value, node.lineno) for t in node.targets if isinstance(t, ast.Name))


def strays(text):
    "Numbers that belong into the configuration: (line, what)."
    tree = ast.parse(text)
    for name, value, line in named_numbers(tree):
        if TUNED.search(name.lower()) and number(value):
            yield line, f"{name}={ast.unparse(value)}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in SEEDING and node.args and number(node.args[0]) is not None:
                yield node.lineno, f"{called}({ast.unparse(node.args[0])})"
            if called in HARMLESS:
                for inner in ast.walk(node):
                    inner.harmless = True
    for node in ast.walk(tree):
        value = number(node) if isinstance(node, ast.Constant) else None
        if isinstance(value, float) and 0 < abs(value) < 0.01 and not hasattr(node, "harmless"):
            yield node.lineno, f"{value:g}"


def test_it_finds_strays_and_leaves_the_rest_alone():
    text = """x = optim.AdamW(p, 2e-3, weight_decay=0.02)
def f(seed=7, n=3, learning_rate=config.rate): pass
torch.manual_seed(0)
y = x.clamp(min=1e-6)
z = 1000 * y
spectral_weight = 15.0"""
    assert sorted(strays(text)) == [(1, "0.002"), (1, "weight_decay=0.02"), (2, "seed=7"), (3, "manual_seed(0)"),
                                    (6, "spectral_weight=15.0")]


@pytest.mark.parametrize("module", MODULES, ids=lambda p: p.stem)
def test_no_module_writes_down_a_rate_a_weight_or_a_seed(module):
    allowed = ALLOWED.get(module.stem, set())
    found = [(line, what) for line, what in strays(module.read_text("utf8")) if what not in allowed]
    assert not found, f"{module.name}: give these a home in nbs/01_notation.ipynb: {found}"
