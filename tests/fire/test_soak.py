"""Nothing grows, nothing depends on who else is at work, and no console or clock ends a run."""
import os, subprocess, sys, threading
from pathlib import Path
import psutil, pytest, torch
from latentspeech.files import sha256
from latentspeech.synthesis import LatentSpeech

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = 500 if os.environ.get("FIRE") else 60
TEXTS = ["你好，今天天气很好。", "我们一起去公园吧！", "二零二六年十一月", "他说：“不对。”", "妈妈骂马吗？"]
GROWTH_MB = 60     # of resident memory, from a fifth of the way to the end


@pytest.fixture(scope="module")
def tts():
    return LatentSpeech.from_pretrained("mini")


def test_memory_stays_flat(tts):
    process, seen = psutil.Process(), []
    for i in range(SENTENCES):
        tts.speak(TEXTS[i % len(TEXTS)], n_steps=2, seed=i)
        seen.append(process.memory_info().rss / 1e6)
    grown = max(seen[-10:]) - max(seen[:SENTENCES // 5])
    print(f"counted: {SENTENCES} sentences in a row, memory grew by {grown:.0f} MB")
    assert grown < GROWTH_MB


def test_threads_and_processes_say_the_same_bits(tts):
    alone, found = tts.speak(TEXTS[0], n_steps=2, seed=7).audio, {}
    def say(k):
        found[k] = tts.speak(TEXTS[0], n_steps=2, seed=7).audio
    threads = [threading.Thread(target=say, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(torch.equal(alone, sound) for sound in found.values())
    code = (f"import torch\ntorch.set_num_threads({torch.get_num_threads()})\n"
            "from latentspeech.files import sha256\nfrom latentspeech.synthesis import LatentSpeech\n"
            f"sound = LatentSpeech.from_pretrained('mini').speak({TEXTS[0]!r}, n_steps=2, seed=7).audio\n"
            "print(sha256(sound.numpy().tobytes()))")
    # half of the processes begin with another number of threads, as numpy's BLAS then keeps it: torch's alone counts
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT,
                                env={**os.environ, "OMP_NUM_THREADS": str(1 + k % 2)}) for k in range(4)]
    said = {process.communicate(timeout=300)[0].strip() for process in running}
    print("counted: 8 threads and 4 processes at once, one sound")
    assert said == {sha256(alone.numpy().tobytes())}


def test_a_clock_set_forward_ends_nothing(tmp_path, monkeypatch):
    "A year passes after each look at the clock on the wall; minutes are counted by another one."
    import time
    from dataclasses import replace
    from test_training import CONFIG, make_task
    from latentspeech.training import fit
    jumps = iter(range(0, 10 ** 12, 31_536_000))
    monkeypatch.setattr(time, "time", lambda: 1.8e9 + next(jumps))
    run = fit(make_task(), replace(CONFIG, steps=20), tmp_path, minutes=10, device="cpu", progress=False)
    assert run.step == 20


@pytest.mark.parametrize("words", [("--help",), ("speak", "--help"), ("speak", "你好😀", "--out", "out.wav")])
def test_a_chinese_console_and_a_closed_pipe_see_no_traceback(words, tmp_path):
    command = [str(Path(sys.executable).parent / "latentspeech"), *words]
    gbk = {**os.environ, "PYTHONIOENCODING": "gbk", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=gbk, cwd=tmp_path, capture_output=True, timeout=300)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr[-1000:]
    reader, writer = os.pipe()
    os.close(reader)   # nobody reads, as after `| head`
    done = subprocess.run(command, env={**gbk, "PYTHONIOENCODING": "utf8"}, cwd=tmp_path, stdout=writer,
                          stderr=subprocess.PIPE, timeout=300)
    os.close(writer)
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr, done.stderr[-1000:]
