"""The server: nobody lost under load, nothing but text taken, a clean end, and whose turn it is."""
import http.client, io, json, os, re, signal, subprocess, sys, threading, types, urllib.error, urllib.request
from concurrent.futures import ThreadPoolExecutor
import pytest, soundfile, torch
from latentspeech import serve
from latentspeech.config import SAMPLE_RATE
from latentspeech.serve import Handler, Refused, Service, SpeechServer, Workers, read_request


class Voice:
    "Say one tenth of a second for each character, in pieces of one."
    speakers, card = ["female"], dict(licence="none")

    def read(self, text):
        if "?" in text:
            raise ValueError("there is nothing to say")
        return [text]

    def stream(self, text, seed=0, **more):
        for k, character in enumerate(text):
            if character == "!":
                raise ValueError("it can't go on")
            audio = torch.full((SAMPLE_RATE // 10,), (seed + k) / 32767)
            yield types.SimpleNamespace(audio=audio, seconds=0.1)


@pytest.fixture
def running(monkeypatch):
    "Serve on a free port; end afterwards."
    monkeypatch.setattr(Handler, "log_message", lambda *given: None)
    server = SpeechServer(Service(Voice(), places=2, most=16, longest=50))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(30)


def ask(url, body=None, **headers):
    "Send a request; return status and answer."
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def speak(server, **fields):
    return ask(server.url + "/speak", json.dumps(fields).encode())


def test_two_hundred_requests_from_eight_clients_get_their_own_answers(running):
    def request(seed):
        status, data = speak(running, text="好" * (1 + seed % 5), seed=seed)
        sound, rate = soundfile.read(io.BytesIO(data), dtype="int16")
        return status, rate, len(sound) // (SAMPLE_RATE // 10), int(sound[0])
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(request, range(200)))
    assert answers == [(200, SAMPLE_RATE, 1 + seed % 5, seed) for seed in range(200)]
    assert running.wait(30)
    assert running.service.health() == dict(ok=True, running=0, served=200, refused=0)
    assert running.service.workers.jobs.empty()


@pytest.mark.parametrize("body,status", [
    (b"", 400), (b"\xff\xfe", 400), (bytes(range(256)), 400), (b"RIFF....WAVE", 400), (b"[]", 400), (b"null", 400),
    (b"{}", 400), (b'{"text": 5}', 400), (b'{"text": " "}', 400), (b'{"text": "a", "steps": 3}', 400),
    (b'{"text": "a", "seed": true}', 400), (b'{"text": "a", "seed": -1}', 400), (b'{"text": "a", "pace": NaN}', 400),
    (b"[" * 1500, 400),
    (b'{"text": "a", "n_steps": 100000}', 400), (b'{"text": "a?"}', 400), (b'{"text": "%s"}' % (b"a" * 51), 413),
    (b"x" * 100_000, 413)], ids=lambda x: repr(x)[:30])
def test_what_is_no_text_is_refused_with_a_reason(running, body, status):
    code, answer = ask(running.url + "/speak", body)
    assert code == status and json.loads(answer)["error"] and running.service.served == 0
    assert speak(running, text="好")[0] == 200, "it goes on after that"


def test_an_answer_that_breaks_off_does_not_look_whole(running):
    with pytest.raises(http.client.IncompleteRead) as broken:
        speak(running, text="好好!")
    assert broken.value.partial.startswith(b"RIFF") and b"HTTP" not in broken.value.partial
    assert running.wait(30) and running.service.health() == dict(ok=True, running=0, served=0, refused=0)


def test_only_its_own_pages_and_paths(running):
    body = '{"text": "好"}'.encode()
    assert ask(running.url + "/speak", body, Origin="https://elsewhere.example")[0] == 403
    assert ask(running.url + "/speak", body, Origin=running.url)[0] == 200
    assert ask(running.url + "/sing", body)[0] == 404 and ask(running.url + "/")[0] == 404
    assert json.loads(ask(running.url + "/voices")[1])["speakers"] == ["female"]
    assert json.loads(ask(running.url + "/health")[1])["ok"]
    assert running.server_address[0] == "127.0.0.1" and serve.serve.__kwdefaults__["host"] == "127.0.0.1"


def test_one_too_many_is_told_to_come_back(running):
    service = running.service
    places = [service.admitted() for _ in range(service.most)]
    for place in places:
        place.__enter__()
    code, answer = speak(running, text="好")
    assert code == 503 and "try again" in json.loads(answer)["error"]
    for place in places:
        place.__exit__(None, None, None)
    assert speak(running, text="好")[0] == 200


def wait_until(condition):
    "Wait for something that other threads bring about; the fixture's time-out ends what never comes."
    while not condition():
        threading.Event().wait(0.005)


def test_the_most_urgent_goes_first_and_an_error_reaches_who_asked():
    workers, order, begin = Workers(1), [], threading.Event()
    workers.ask(0, begin.wait)
    asked = [workers.ask(urgency, lambda urgency=urgency: order.append(urgency)) for urgency in (5, 2, 9, 1, 7)]
    begin.set()
    [answer.result(30) for answer in asked]
    assert order == [1, 2, 5, 7, 9]
    with pytest.raises(ZeroDivisionError):
        workers.ask(0, lambda: 1 / 0).result(30)
    assert workers.ask(0, lambda: "goes on").result(30) == "goes on"


class SteppedVoice(Voice):
    "Finish a piece only when the test says so; keep the order in which pieces, and ends, were begun."
    def __init__(self):
        self.begun, self.go = [], threading.Semaphore(0)

    def stream(self, text, seed=0, **more):
        for piece in range(3):
            self.begun.append((seed, piece))
            assert self.go.acquire(timeout=60)
            yield types.SimpleNamespace(audio=torch.zeros(SAMPLE_RATE), seconds=1.0)
        self.begun.append((seed, "end"))


def test_no_later_piece_is_begun_while_a_first_one_waits():
    """Listeners come while others are served; who has heard something waits for all who have heard nothing."""
    voice, came, done, later_chosen = SteppedVoice(), 0, 0, 0
    service = Service(voice, places=1)
    def pieces():
        return [x for x in voice.begun if x[1] != "end"]
    def settled():
        active = came - (len(voice.begun) - len(pieces()))
        return len(pieces()) == done + bool(active) and service.workers.jobs.qsize() == max(0, active - 1)
    for newcomers in (4, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, *[0] * 13):
        for seed in range(came, came + newcomers):
            threading.Thread(target=lambda seed=seed: list(service.pieces(dict(text="好", seed=seed)))).start()
        came += newcomers
        wait_until(settled)
        silent = set(range(came)) - {seed for seed, _ in voice.begun}
        voice.go.release()
        done += 1
        wait_until(settled)
        for seed, piece in pieces()[done:]:
            later_chosen += piece > 0
            assert piece == 0 if silent else piece > 0, (silent, voice.begun)
    assert came == 8 and done == 24 == len(pieces()) and later_chosen == 16


def test_a_request_is_passed_on_as_it_is():
    asked = dict(text="你好", speaker="male", seed=3, pace=1.5, n_steps=4)
    assert read_request(json.dumps(asked).encode(), 10) == asked
    with pytest.raises(Refused, match="at most 1 ") as refused:
        read_request(json.dumps(asked).encode(), 1)
    assert refused.value.status == 413


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM")
def test_the_real_voice_under_load_and_a_clean_end_on_sigterm():
    psutil = pytest.importorskip("psutil", reason="dev extra")
    process = subprocess.Popen([sys.executable, "-m", "latentspeech.cli", "serve", "--port", "0", "--threads", "2",
                                "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())[0]
        threading.Thread(target=process.stderr.read, daemon=True).start()
        body, memory = json.dumps(dict(text="好。", n_steps=1)).encode(), []
        with ThreadPoolExecutor(8) as clients:
            for _ in range(3):
                answers = list(clients.map(lambda _: ask(url + "/speak", body), range(24)))
                assert {(status, data[:4]) for status, data in answers} == {(200, b"RIFF")}
                memory.append(psutil.Process(process.pid).memory_info().rss / 1e6)
        assert memory[2] < memory[0] + 150, f"memory grows: {memory} MB"
        status, answer = ask(url + "/speak", json.dumps(dict(text="你好。こんにちは。")).encode())
        assert status == 400 and "can't say 'こ'" in json.loads(answer)["error"], "its first sentence could be said"
        process.send_signal(signal.SIGTERM)
        told = process.stdout.read()
        assert process.wait(60) == 0 and json.loads(told) == dict(served=72, refused=1, cut_off=0)
    finally:
        process.kill()
