"""Processes forked from one that has imported what takes longest; to others they look like those of `subprocess`."""
import multiprocessing, os, signal, subprocess, threading, weakref
from unittest import mock

FORKS = "forkserver" in multiprocessing.get_all_start_methods()   # Windows has none
_SERVERS, _ONE_AT_A_TIME = {}, threading.Lock()


def start(process,        # one of the context "forkserver"
          preload: list   # modules
          ):
    """Start a process as a fork of one that has imported those modules and no others.

    `multiprocessing` has a single server: whoever came first would settle what every later fork knows.
    """
    from multiprocessing import forkserver
    server = _SERVERS.setdefault(tuple(preload), forkserver.ForkServer())
    server.set_forkserver_preload(list(preload))
    with _ONE_AT_A_TIME, mock.patch.object(forkserver, "connect_to_new_process", server.connect_to_new_process):
        process.start()


def settle(folder: str, environment: dict, streams: dict  # file descriptor -> path of what is written there
           ):
    "Give this fork a session, a folder, an environment and streams of its own; it finds modules where its parent does."
    multiprocessing.set_start_method(None, force=True)   # as anywhere else, not as for this process
    os.setsid()
    for number, path in streams.items():
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


def _end(process):
    if process.is_alive():
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:   # it hasn't settled yet
            process.kill()


class Fork:
    "Run a function that settles first; what nobody holds any more is ended, with all that it has started."
    stdin = stdout = stderr = None

    def __init__(self, function, *arguments, preload: list):
        self.process = multiprocessing.get_context("forkserver").Process(target=function, args=arguments)
        start(self.process, preload)
        self.pid, self.kill, self.terminate = self.process.pid, self.process.kill, self.process.terminate
        weakref.finalize(self, _end, self.process)   # else the end of this process would wait for it

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout)
        return self.process.exitcode

    def send_signal(self, number: int):
        os.kill(self.pid, number)
