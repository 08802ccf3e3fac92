"""No test reaches the network: whatever asks for an address outside this machine fails, and says so. None leaves its
number of threads to the next."""
import os, sys
import pytest

HERE = ("127.", "localhost", "::1", "0.0.0.0")


def _no_network(event, arguments):
    if event not in ("socket.connect", "socket.getaddrinfo"):
        return
    address = arguments[1] if event == "socket.connect" else arguments[0]
    host = address[0] if isinstance(address, tuple) else address   # a plain string is a socket in a folder
    if event == "socket.connect" and not isinstance(address, tuple):
        return
    if host and not str(host if not isinstance(host, bytes) else host.decode()).startswith(HERE):
        raise PermissionError(f"a test asked for the network: {host}")


sys.addaudithook(_no_network)


def pytest_configure(config):
    config.addinivalue_line("markers", "xdist_group: which tests share a process; a file's do where nothing is said")


def pytest_collection_modifyitems(items):
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(autouse=True)
def _threads_as_before():
    "A command that ran inside a test set threads for its process, and for those that later tests start."
    names = ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")
    before, torch = {name: os.environ.get(name) for name in names}, sys.modules.get("torch")
    threads = torch and torch.get_num_threads()
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    if torch and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
