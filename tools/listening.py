"""Make a blind listening test of a voice for a class, and pool its votes: `python -m tools.listening make`, `pool`.

`make` says sentences of the embedded corpus' test split in three ways (natural speech, the autoencoder's copy, the
voice's own speech), adds the bad control, and writes out/listening: a folder to copy to every laptop, with a notebook
in it. `pool` reads the votes that were gathered there and prints preferences and mean opinions with intervals.
"""
import argparse, sys
from pathlib import Path
import nbformat

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "listening"
SYSTEMS = ("reconstruction", "TTS")     # compared; natural speech and the bad control watch the listeners
KINDS = ("pairs", "scores")
TITLE = """# A listening test

Put your number where the 1 is, run the next two cells, and take both tests with headphones. Each answer is written at
once: who stops goes on where they were. When both say "Thank you!", hand in the files of the folder `votes`. Please
leave `key.json` closed: it says what you hear."""
FIRST = """NUMBER = 1   # yours
from latentspeech.listening import open_class_test
test = open_class_test(".")
test.take(NUMBER)"""
SECOND = 'test.take(NUMBER, "scores")'


def renditions(voice: str, sentences: int, preset: str = "mini") -> dict:   # row -> sounds [T]
    "Say test sentences in every way that is compared, and add the bad control."
    from latentspeech.corpora import make_embedded_corpus
    from latentspeech.config import preset as get_preset
    from latentspeech.evaluation import recordings, spoken
    from latentspeech.listening import bad_control
    from latentspeech.synthesis import LatentSpeech
    tts = LatentSpeech.from_pretrained(voice)
    corpus = make_embedded_corpus(config=get_preset(preset).corpus, progress=False)
    some = corpus.split("test")[:sentences]
    rows = recordings(tts, corpus, some) | spoken(tts, some)
    return {row: rows[row] for row in ("natural", *SYSTEMS)} | {"bad": [bad_control(a) for a in rows["natural"]]}


def notebook() -> nbformat.NotebookNode:
    "Return what a listener opens."
    cells = [nbformat.v4.new_markdown_cell(TITLE, id="title"), nbformat.v4.new_code_cell(FIRST, id="pairs"),
             nbformat.v4.new_code_cell(SECOND, id="scores")]
    kernel = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


def make(folder: Path, voice: str = "mini", sentences: int = 8, preset: str = "mini"):   # the ClassTest
    "Write the test of a voice into a folder, its notebook beside the sounds."
    from latentspeech.listening import save_class_test
    test = save_class_test(folder, renditions(voice, sentences, preset), SYSTEMS)
    nbformat.write(notebook(), Path(folder) / "listen.ipynb")
    return test


def pool(folder: Path, **how) -> str:   # Markdown; how: options of `analyse`
    "Return what the votes in a folder say, for each kind of question that somebody finished."
    from latentspeech.listening import ListeningError, open_class_test
    test, said = open_class_test(folder), []
    for kind in KINDS:
        if any((test.folder / "votes").glob(f"{kind}-*.json")):
            said.append(f"## {'Preference' if kind == 'pairs' else 'Mean opinion'}\n\n{test.pool(kind, **how)}")
    if not said:
        raise ListeningError(f"no votes in {test.folder / 'votes'}; gather the files of all laptops there")
    return "\n\n".join(said) + "\n"


def main(words: list) -> int:
    "Make a test or pool its votes."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("make", "pool"))
    parser.add_argument("folder", type=Path, nargs="?", default=OUT)
    parser.add_argument("--voice", default="mini", help="a voice that ships, or a folder")
    parser.add_argument("--sentences", type=int, default=8)
    options = parser.parse_args(words)
    from latentspeech.listening import ListeningError
    try:
        if options.command == "make":
            test = make(options.folder, options.voice, options.sentences)
            print(f"{options.sentences} sentences of {', '.join(test.sounds)} in {options.folder}: copy it to every "
                  "laptop")
        else:
            print(pool(options.folder))
    except ListeningError as error:
        print(f"listening: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
