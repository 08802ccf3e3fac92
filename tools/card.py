"""Put the figures of the shipped weights into their card.

`python -m tools.card` rewrites what stands between the marks in latentspeech/pretrained/README.md; `--check` only says
whether that is up to date.
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
from latentspeech.files import write_atomically
from latentspeech.table import ResultsTable, recorded

CARD = ROOT / "latentspeech/pretrained/README.md"
BEGIN, END = "<!-- figures: made by tools/card.py -->", "<!-- end of figures -->"
SETS = {"tan": "words by `tan`", "magic": "sentences by `magic`, a stranger", "female": "sentences by `female`"}
RECORDS = {"Autoencoders": ("70_train_autoencoder", ("SER (in-house)", "tone error", "PESQ-wb", "STOI", "MCD")),
           "Voice": ("71_train_latentspeech", ("SER (in-house)", "tone error", "MCD", "F0 correlation"))}
SMALL = ("natural, resampled once",)         # rows for the full record


def figures() -> str:
    "Write the tables of both records, one for each set of test recordings."
    parts = []
    for title, (name, metrics) in RECORDS.items():
        found = recorded(ROOT / f"data/results/{name}.json")
        for key, what in SETS.items():
            rows = [r for r in found["rows"]
                    if r["set"] == key and r["metric"] in metrics and r["row"] not in SMALL]
            if rows:
                parts += [f"**{title}, {what}**", ResultsTable.of_record(rows, set=key).to_markdown().rstrip()]
        parts.append(f"All rows and columns: `data/results/{name}.json`, made by `{found['command']}`.")
    return "\n\n".join(parts)


def main() -> int:
    "Write the card, or say whether it is up to date."
    text = CARD.read_text("utf8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    made = f"{before}{BEGIN}\n\n{figures()}\n\n{END}{after}"
    if "--check" in sys.argv:
        if made != text:
            print(f"{CARD.relative_to(ROOT)} is not up to date: run python -m tools.card", file=sys.stderr)
        return int(made != text)
    write_atomically(CARD, made.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
