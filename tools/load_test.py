"""Let several clients ask a server for speech, and record how long they wait: `python -m tools.load_test`.

The clock of a busy machine says little, so each row has the load and the processor's time; a row that was `replayed`
is the server's order of work on cores that do nothing else, each piece as long as it took the processor.
"""
import argparse, heapq, itertools, json, platform, re, signal, statistics, subprocess, sys, threading, time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import psutil
from latentspeech.corpora import make_sentences
from latentspeech.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "data/results/67_serve.json"
HEAD = 44   # bytes of a WAV before its first sample


def start_server(preset: str, threads: int) -> tuple:  # process, address
    "Start `latentspeech serve` on a free port."
    words = [sys.executable, "-m", "latentspeech.cli", "serve", "--port", "0", "--preset", preset, "--json"]
    process = subprocess.Popen([*words, "--threads", str(threads)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    url = re.search(r"http://[\d.]+:\d+", process.stderr.readline())[0]
    threading.Thread(target=process.stderr.read, daemon=True).start()
    return process, url


def ask(url: str, text: str) -> tuple:  # seconds to the first sample, to the last; seconds of speech
    "Ask for one sentence."
    began = time.monotonic()
    with urllib.request.urlopen(url + "/speak", json.dumps(dict(text=text)).encode(), timeout=120) as answer:
        answer.read(HEAD + 2)
        first = time.monotonic() - began
        rest = answer.read()
    return first, time.monotonic() - began, (len(rest) + 2) / 2 / 48_000


def run_once(url: str, process: psutil.Process, texts: list, clients: int) -> dict:
    "Send every text once; return what one run measured."
    before, began = process.cpu_times(), time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda text: ask(url, text), texts))
    took, after = time.monotonic() - began, process.cpu_times()
    first, whole, spoken = zip(*answers)
    used = after.user + after.system - before.user - before.system
    return dict(clients=clients, requests=len(texts), answered=sum(s > 0.1 for s in spoken),
                first_ms=round(1000 * statistics.median(first)),
                first_ms_9_of_10=round(1000 * statistics.quantiles(first, n=10)[-1]),
                whole_ms=round(1000 * statistics.median(whole)), requests_per_second=round(len(texts) / took, 2),
                speech_seconds=round(statistics.mean(spoken), 2), cpu_ms_a_request=round(1000 * used / len(texts)),
                cores=round(used / took, 2),
                resident_mb=round(process.memory_info().rss / 1e6), load_average=round(psutil.getloadavg()[0], 1))


def load_test(preset: str, threads: int, clients: list, requests: int, repeats: int) -> list:
    "Run with each number of clients, several times over; raises `RuntimeError` where the server ends badly."
    texts, rows = list(make_sentences(requests, 17)), []
    server, url = start_server(preset, threads)
    try:
        for n, repeat in itertools.product(clients, range(repeats)):
            rows.append(dict(run=repeat, **run_once(url, psutil.Process(server.pid), texts, n)))
            print(rows[-1], flush=True)
        server.send_signal(signal.SIGTERM)
        told = json.loads(server.stdout.read())
        if server.wait(60) or told["served"] != requests * len(rows) or told["cut_off"]:
            raise RuntimeError(f"the server ended with {told}")
    finally:
        server.kill()
    return rows


def work_of(preset: str, texts: list) -> list:
    "Time each piece of each text by the processor: lists of (seconds of work, seconds of speech)."
    import torch
    from latentspeech.cli import load_voice, samples_of
    torch.set_num_threads(1)
    voice, made = load_voice(preset), []
    list(voice.stream(texts[0]))
    for text in texts:
        stream, pieces = voice.stream(text), []
        while True:
            began = time.thread_time()
            piece = next(stream, None)
            if piece is None:
                break
            samples_of(piece.audio)
            pieces.append((time.thread_time() - began, piece.seconds))
        made.append(pieces)
    return made


def replay(work: list, clients: int, cores: int) -> dict:
    "Say how long clients would wait on cores that do nothing else: the server's rule, the measured work."
    todo, now, waited = iter(range(len(work))), 0.0, []
    ready, busy = [], []   # heaps: (urgency, client, request, piece), (ends, client, request, piece)
    came, sent = {}, {}
    def ask(client, at):
        if (k := next(todo, None)) is not None:
            came[k], sent[k] = at, 0.0
            heapq.heappush(ready, ((False, at), client, k, 0))
    for client in range(clients):
        ask(client, 0.0)
    while ready or busy:
        while ready and len(busy) < cores:
            _, client, k, piece = heapq.heappop(ready)
            heapq.heappush(busy, (now + work[k][piece][0], client, k, piece))
        now, client, k, piece = heapq.heappop(busy)
        waited += [now - came[k]] if piece == 0 else []
        sent[k] += work[k][piece][1]
        if piece + 1 < len(work[k]):
            heapq.heappush(ready, ((True, came[k] + sent[k]), client, k, piece + 1))
        else:
            ask(client, now)
    total = sum(seconds for pieces in work for seconds, _ in pieces)
    return dict(run="replayed", clients=clients, requests=len(work), cores=cores,
                first_ms=round(1000 * statistics.median(waited)),
                first_ms_9_of_10=round(1000 * statistics.quantiles(waited, n=10)[-1]),
                requests_per_second=round(len(work) / now, 2), cpu_ms_a_request=round(1000 * total / len(work)))


def build_parser() -> argparse.ArgumentParser:
    "Build the parser of the command."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clients", default="8,1", help="numbers, with commas between")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", default=str(RECORD))
    return parser


def main():
    "Measure, and write the record."
    parser = build_parser()
    given = parser.parse_args()
    clients = [int(n) for n in given.clients.split(",")]
    work = work_of(given.preset, list(make_sentences(given.requests, 17)))
    rows = [replay(work, n, given.threads) for n in clients]
    print(*rows, sep="\n", flush=True)
    rows += load_test(given.preset, given.threads, clients, given.requests, given.repeats)
    words = " ".join(f"--{name} {value}" for name, value in vars(given).items()
                     if value != parser.get_default(name) and name != "out")
    record = dict(command=f"python -m tools.load_test {words}".strip(), date=time.strftime("%Y-%m-%d"),
                  machine=f"{psutil.cpu_count()} cores of {platform.machine()}", preset=given.preset, rows=rows)
    write_atomically(Path(given.out), (json.dumps(record, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
