"""One lock for every folder: it dies with its holder, however that ends, and whatever its file says."""
import os, shutil, signal, subprocess, sys, time
from pathlib import Path
import pytest
from latentspeech.files import FolderInUse, folder_lock, sweep_drafts, write_atomically

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from latentspeech.files import FolderInUse, folder_lock
try:
    with folder_lock(sys.argv[1]):
        print("mine", flush=True)
        time.sleep(float(sys.argv[2]))
except FolderInUse as error:
    print(error, flush=True)
"""


def start(folder, seconds=60, prefix=()):
    "Start a process that wants the folder; return it and what it says first."
    command = [*prefix, sys.executable, "-c", HOLD, str(folder), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return process, process.stdout.readline().strip()


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_killed_run_of_a_container_goes_on(tmp_path):
    "In a process namespace of its own every program is number 1: the next one must not take itself for the dead."
    unshare = shutil.which("unshare")
    prefix = (unshare, "-pf", "--mount-proc", "--kill-child")
    if not unshare or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        (pytest.fail if os.environ.get("FIRE") else pytest.skip)("wants unshare: run as root, or allow user namespaces")
    for _ in range(3):
        process, said = start(tmp_path, prefix=prefix)
        assert said == "mine"
        assert "process 1 on" in (tmp_path / ".lock").read_text()
        with pytest.raises(FolderInUse, match="in use by process 1"):
            with folder_lock(tmp_path):
                pass
        end(process)
        deadline = time.monotonic() + 10
        while True:   # the inner process dies a moment after the outer one
            try:
                with folder_lock(tmp_path):
                    break
            except FolderInUse:
                assert time.monotonic() < deadline
                time.sleep(0.05)


@pytest.mark.parametrize("text", [b"", b"1 elsewhere", b"process 4194304 on another-host", b"\xff\xfe\x00garbage",
                                  b"9" * 5000, str(os.getpid()).encode()],
                         ids=["empty", "old", "host", "garbage", "huge", "own"])
def test_what_the_file_says_holds_nobody_up(tmp_path, text):
    (tmp_path / ".lock").write_bytes(text)
    with folder_lock(tmp_path) as mine:
        assert mine == tmp_path and str(os.getpid()) in (tmp_path / ".lock").read_text()
        _, said = start(tmp_path, 0)
        assert f"process {os.getpid()}" in said


def test_of_six_starters_one_holds_the_folder(tmp_path):
    "Sixty rounds: the holder is killed while five others try; never two, and never nobody."
    code = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from latentspeech.files import FolderInUse, folder_lock
def starter(folder, gate, out):
    os.read(gate, 1)
    try:
        with folder_lock(folder):
            os.write(out, b"1")
            time.sleep(60)   # held until it is killed
    except FolderInUse:
        os.write(out, b"0")
    os._exit(0)
for turn in range(60):
    (gate, opened), (told, out) = os.pipe(), os.pipe()
    children = []
    for _ in range(6):
        child = os.fork()
        if not child:
            os.close(opened)
            starter(sys.argv[1], gate, out)
        children.append(child)
    os.write(opened, b"." * 6)
    said = b""
    while len(said) < 6:
        said += os.read(told, 6)
    assert sorted(said) == sorted(b"000001"), said
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)
    for end in (gate, opened, told, out):
        os.close(end)
print("60 rounds")
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "60 rounds", done.stderr[-500:]


def test_orphans_are_swept_and_living_drafts_stay(tmp_path):
    for name in "abc":
        (tmp_path / f".{name}.txt.draft").write_bytes(b"half")
    code = ("import sys, time; from latentspeech import files; f = files._own_draft(files.Path(sys.argv[1])); "
            "print('mine', flush=True); time.sleep(60)")
    living = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".d.txt.draft")], stdout=subprocess.PIPE,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert living.stdout.readline() == b"mine\n"
    assert len(sweep_drafts(tmp_path)) == 3 and [p.name for p in tmp_path.iterdir()] == [".d.txt.draft"]
    end(living)
    write_atomically(tmp_path / "d.txt", b"whole")   # takes over what the dead one left
    assert [p.name for p in tmp_path.iterdir()] == ["d.txt"]


def test_without_flock_and_folder_handles_it_still_works(tmp_path, monkeypatch):
    "As on Windows: no fcntl, folders can't be opened, open files can't be renamed."
    from latentspeech import files
    held = set()

    class msvcrt:
        LK_LOCK, LK_NBLCK = 1, 2
        @staticmethod
        def locking(number, how, size):
            key = os.fstat(number).st_ino
            if key in held and how == msvcrt.LK_NBLCK:
                raise OSError(13, "Permission denied")
            held.add(key)

    real = os.replace
    def replace(a, b):
        open_files = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                      if os.path.islink(f"/proc/self/fd/{n}") and os.path.exists(f"/proc/self/fd/{n}")]
        assert str(a) not in open_files, "an open file can't be renamed there"
        real(a, b)

    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "open", lambda path, *a, **k: pytest.fail("opened a folder"))
    write_atomically(tmp_path / "a.txt", b"one")
    assert (tmp_path / "a.txt").read_bytes() == b"one"
    with folder_lock(tmp_path):
        with pytest.raises(FolderInUse):
            with folder_lock(tmp_path):
                pass
