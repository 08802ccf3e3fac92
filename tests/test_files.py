"Files that are never half: killed writers, full disks, threads, locks that die with their holder, missing packages."
import os, signal, subprocess, sys, threading, time
from pathlib import Path
import pytest
from latentspeech.files import (FolderInUse, MissingExtra, file_sha256, folder_lock, required, sha256, sync_folder,
                                write_atomically)

ROOT = Path(__file__).resolve().parents[1]


def python(code, *words, **options):
    "Start a process that runs `code` with this very library."
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], text=True, stdout=subprocess.PIPE,
                            env=dict(os.environ, PYTHONPATH=str(ROOT)), **options)


@pytest.mark.parametrize("data", [b"", b"one", bytes(range(256)) * 4000, "text: 你好"])
def test_what_is_written_is_read(tmp_path, data):
    path = write_atomically(tmp_path / "deep" / "er" / "x.bin", data)
    wanted = data.encode() if isinstance(data, str) else data
    assert path.read_bytes() == wanted and file_sha256(path) == sha256(data) == sha256(wanted)
    assert os.listdir(path.parent) == ["x.bin"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch, call):
    path = write_atomically(tmp_path / "x", b"old")
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x"]


WRITE_FOR_EVER = """
import sys
from latentspeech.files import write_atomically
print("ready", flush=True)
for letter in "ab" * 100_000:
    write_atomically(sys.argv[1], letter * 200_000)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "x"
    for wait in (0.01, 0.03, 0.05):
        writer = python(WRITE_FOR_EVER, path)
        assert writer.stdout.readline() == "ready\n"
        end = time.time() + 30
        while not path.exists() and time.time() < end:
            time.sleep(0.001)
        time.sleep(wait)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert path.read_bytes() in (b"a" * 200_000, b"b" * 200_000)


def test_threads_that_write_one_file_never_mix(tmp_path):
    path, seen = write_atomically(tmp_path / "x", b"a" * 5000), set()
    def work(letter):
        for _ in range(30):
            write_atomically(path, letter * 5000)
    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.add(path.read_text())
    assert seen <= {letter * 5000 for letter in "abc"} and os.listdir(tmp_path) == ["x"]


def test_hashes_are_the_standards(tmp_path):
    assert sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(b"") == file_sha256(write_atomically(tmp_path / "x", b"")) and sha256(b"").startswith("e3b0c442")
    sync_folder(tmp_path)
    with pytest.raises(OSError):
        file_sha256(tmp_path / "missing")


HOLD = """
import sys, time
from latentspeech.files import folder_lock
with folder_lock(sys.argv[1]):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path):
    holder = python(HOLD, tmp_path / "new")
    assert holder.stdout.readline() == "mine\n"
    with pytest.raises(FolderInUse, match=f"in use by process {holder.pid} on ") as caught:
        with folder_lock(tmp_path / "new"):
            pass
    assert "\n" not in str(caught.value)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with folder_lock(tmp_path / "new") as folder:
        assert folder == tmp_path / "new"


def test_a_lock_holds_within_a_process_and_opens_after_an_error(tmp_path):
    with pytest.raises(KeyError):
        with folder_lock(tmp_path):
            with pytest.raises(FolderInUse):
                with folder_lock(tmp_path):
                    pass
            raise KeyError
    with folder_lock(tmp_path):
        pass


def test_of_many_that_want_a_folder_one_gets_it(tmp_path):
    takers = [python(HOLD.replace("time.sleep(60)", "time.sleep(3)"), tmp_path, stderr=subprocess.PIPE)
              for _ in range(4)]
    said = [(taker.communicate(timeout=60), taker.returncode) for taker in takers]
    assert [out for (out, _), _ in said].count("mine\n") >= 1
    assert all(code == 0 or "FolderInUse" in err for (_, err), code in said)


def test_a_missing_package_says_what_installs_it(monkeypatch):
    import json
    assert required("json", "nothing") is json
    monkeypatch.setitem(sys.modules, "json.tool", None)
    with pytest.raises(MissingExtra, match=r"json\.tool is missing .*pip install 'latentspeech\[eval\]'"):
        required("json.tool", "'latentspeech[eval]'")
    assert issubclass(MissingExtra, RuntimeError) and not issubclass(MissingExtra, ImportError)
