"""Pictures and tables of experiment 5, from rows as `tools/efficiency.py` makes them."""
import matplotlib.pyplot as plt

COLOURS = {"LatentSpeech": "C3", "mel diffusion": "C0", "band diffusion": "C2", "the paper's": "0.5"}
PARTS = {"text_encoder": "text encoder", "denoiser": "denoiser", "decoder": "decoder"}


def chosen(rows: list, what: str, **facts) -> list:
    "Return the rows that say `what`, and whose fields are as given."
    return [r for r in rows if r["what"] == what and all(r.get(k) == v for k, v in facts.items())]


def by_system(rows: list, what: str, x: str) -> dict:
    "Return system -> ([x], [value], [lowest], [highest]), sorted."
    found = {}
    for r in sorted(chosen(rows, what), key=lambda r: r[x]):
        found.setdefault(r["system"], []).append((r[x], r["value"], r.get("value_low", r["value"]),
                                                  r.get("value_high", r["value"])))
    return {name: tuple(map(list, zip(*points))) for name, points in found.items()}


def show_parts(rows: list, what: str, scale: float, unit: str, title: str, ax=None):
    "Draw a bar of each system, cut into text encoder, denoiser and decoder."
    ax = ax or plt.subplots(figsize=(6, 1.8))[1]
    names = [r["system"] + (f", {r['n_steps']} steps" if "n_steps" in r else "") for r in rows if r["what"] == what]
    left = [0.0] * len(names)
    for part, label in PARTS.items():
        widths = [r[part] / scale for r in chosen(rows, what)]
        ax.barh(names, widths, left=left, label=label)
        left = [a + b for a, b in zip(left, widths)]
    ax.invert_yaxis()
    ax.set(xlabel=unit, title=title)
    ax.legend(fontsize=7)
    return ax


def show_curves(rows: list, what: str, x: str, title: str, xlabel: str, ylabel: str = "seconds of work",
                log: bool = True, ax=None):
    "Draw cost against steps or length, one line a system, with the lowest and highest round as a band."
    ax = ax or plt.subplots(figsize=(6, 2.6))[1]
    for name, (xs, values, low, high) in by_system(rows, what, x).items():
        ax.plot(xs, values, "o-", ms=3, label=name, color=COLOURS.get(name))
        ax.fill_between(xs, low, high, alpha=0.2, color=COLOURS.get(name))
    if log:
        ax.set(xscale="log", yscale="log", xticks=xs)
        ax.set_xticks([], minor=True)
        ax.xaxis.set_major_formatter("{x:g}")
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.legend(fontsize=7)
    return ax


def show_folds(rows: list, claim: float, title: str):
    "Draw the cost of band diffusion against mel diffusion, by the number of neighbours in a column."
    macs = {r["system"]: r["value"] for r in chosen(rows, "multiply-accumulates", n_steps=8)}
    time = {r["system"]: r["value"] for r in chosen(rows, "speaking, 8 steps")}
    fold = lambda name: 8 if name == "band diffusion" else int(name.split()[-1])
    ax = plt.subplots(figsize=(6, 2.3))[1]
    for label, found in (("multiply-accumulates", macs), ("time (recorded)", time)):
        names = sorted((n for n in found if "band" in n), key=fold)
        if "mel diffusion" in found:
            ax.plot([fold(n) for n in names], [found[n] / found["mel diffusion"] for n in names], "o-", label=label)
    ax.axhline(claim, color="0.6", ls="--", label="the claim")
    ax.axhline(1, color="0.8", lw=0.8)
    ax.set(xscale="log", xticks=[8, 16, 32, 64], xlabel="band samples in a column", ylabel="of mel diffusion",
           ylim=(0, None), title=title)
    ax.set_xticks([], minor=True)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend(fontsize=7)


def show_guess(guessed: tuple, found: tuple, title: str):
    "Draw predicted and measured time and memory side by side."
    for ax, name, a, b in zip(plt.subplots(1, 2, figsize=(6, 1.6))[1], ("seconds of work", "MB of tensors"),
                              guessed, found):
        bars = ax.barh(["predicted", "measured"], [a, b], color=["0.7", "C3"])
        ax.bar_label(bars, fmt="%.3g")
        ax.margins(x=0.2)
        ax.invert_yaxis()
        ax.set(xlabel=name)
    plt.suptitle(title, fontsize=10)


class Ratios:
    "Show rows as a table in which the ratio to LatentSpeech comes first."
    def __init__(self, lines: dict):  # title of a line -> rows, one a system
        self.systems = list(dict.fromkeys(r["system"] for rows in lines.values() for r in rows))
        self.lines = {title: {r["system"]: self._cell(r) for r in rows} for title, rows in lines.items()}

    def _cell(self, r):
        spread = (
            f" [{r['ratio_low']:.3g}, {r['ratio_high']:.3g}]"
            if "ratio_low" in r and r["ratio_low"] != r["ratio_high"]
            else ""
        )
        value = f"{r['value']:,.0f}" if r["value"] >= 1000 else f"{r['value']:.3g}"
        return f"× {r['ratio']:.3g}{spread} ({value})"

    def _repr_markdown_(self):
        head = ["| |" + "|".join(self.systems) + "|", "|---" * (1 + len(self.systems)) + "|"]
        return "\n".join(head + [f"|{title}|" + "|".join(cells.get(s, "–") for s in self.systems) + "|" for title,
                                 cells in self.lines.items()])

    __repr__ = _repr_markdown_
