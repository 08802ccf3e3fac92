"""The doctor finds what was taken away, blames nothing else for it, and changes nothing."""
import importlib.metadata, json, sys, types
import pytest
from latentspeech import doctor as module
from latentspeech.cli import main
from latentspeech.doctor import doctor, missing, unfit_extensions


def rows_of(result):
    return {r["what"]: r for r in result["rows"]}


def test_the_doctor_finds_the_core_sound(capsys):
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


def test_the_doctor_finds_what_is_gone(monkeypatch):
    real = importlib.metadata.version
    def version(name):
        if name in ("pesq", "soundfile"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    found = doctor()
    rows = rows_of(found)
    assert not found["ok"]
    assert rows["soundfile"]["status"] == "broken"
    assert "soundfile" in rows["core packages"]["detail"]
    assert rows["extra eval"]["status"] == "absent" and "eval" in rows["extra eval"]["mend"]
    assert rows["compiler"]["status"] == "absent" and "gcc" in rows["compiler"]["mend"]
    assert all(r["mend"] for r in found["rows"] if r["status"] != "ok")


def install(folder, cuda, library=b"links to libcudart.so.13"):
    "Lay out what pip leaves of torch and torchaudio."
    (folder / "torch").mkdir()
    (folder / "torch" / "version.py").write_text(f"cuda = {cuda!r}\nhip = None\n")
    (folder / "torchaudio" / "lib").mkdir(parents=True)
    extension = folder / "torchaudio" / "lib" / "_torchaudio.abi3.so"
    extension.write_bytes(library)
    return extension


@pytest.mark.parametrize("cuda,library,unfit", [(None, b"libcudart.so.13", True),
                                                ("13.0", b"libcudart.so.13", False), (None, b"libtorch_cpu.so", False)])
def test_a_torchaudio_for_cuda_beside_a_cpu_torch_breaks_nothing(tmp_path, monkeypatch, cuda, library, unfit):
    extension = install(tmp_path, cuda, library)
    real = module.package_folder
    monkeypatch.setattr(module, "package_folder",
                        lambda package: real(package) if package == "latentspeech" else tmp_path / package)
    assert bool(unfit_extensions()) is unfit
    found = doctor()
    rows = rows_of(found)
    assert found["ok"] and rows["torchaudio"]["status"] == ("absent" if unfit else "ok")
    assert ("without its binary" in rows["torchaudio"]["detail"]) is unfit
    assert extension.read_bytes() == library, "the doctor changes nothing"


def test_without_torchaudio_all_but_torchaudio_is_well(monkeypatch):
    real = module.package_folder
    monkeypatch.setattr(module, "package_folder", lambda package: None if package == "torchaudio" else real(package))
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    found = doctor()
    rows = rows_of(found)
    assert rows["torchaudio"]["status"] == "absent" and rows["espeak-ng"]["status"] == "ok" and found["ok"]


def test_without_matplotlib_there_are_no_plots_and_nothing_is_broken(monkeypatch):
    real = module.package_folder
    monkeypatch.setattr(module, "package_folder", lambda package: None if package == "matplotlib" else real(package))
    font = module.check_font()
    assert font.status == "absent" and "notebook" in font.mend and doctor()["ok"]


@pytest.mark.parametrize("checkout", [True, False])
def test_cures_are_for_who_reads_them(monkeypatch, tmp_path, checkout):
    (tmp_path / "latentspeech").mkdir()
    if checkout:
        (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(module, "package_folder", lambda package: tmp_path / package)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["no-such-thing>=2", 'nor-this; extra == "eval"'])
    def check_luck():
        raise OSError("no luck")
    found = [module.check_core(), module.check_extra("eval"), module.check_weights(), module.ask(check_luck)]
    assert [f.status for f in found] == ["broken", "absent", "absent", "broken"]
    cures = [f.mend for f in found]
    assert all(("make" in c or "-e" in c) is checkout for c in cures), cures
    assert checkout or cures[1] == "pip install 'latentspeech[eval]'"


def test_the_disk_that_the_demo_wants_is_what_the_demo_says(monkeypatch):
    from demo import run
    assert module.DISK_GB == run.DISK_GB
    free = types.SimpleNamespace(free=0.4e9)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: free)
    assert module.check_disk().status == "low" and f"{run.DISK_GB} GB" in module.check_disk().mend


def test_an_extra_is_named_for_what_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["numpy>=1", 'jupyterlab>=4; extra == "notebook"',
                                                                      'huggingface_hub; extra == "hub"'])
    assert [module.extra_with(n) for n in ("jupyterlab", "huggingface_hub.errors", "numpy", "nothing")] == [
        "notebook", "hub", "", ""]


def test_missing_reads_the_metadata(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["numpy>=1", "no-such-thing>=2",
                                                                      'pesq>=0; extra == "eval"',
                                                                      'nor-this; extra == "eval"'])
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1" if name in ("numpy", "pesq")
                        else (_ for _ in ()).throw(importlib.metadata.PackageNotFoundError(name)))
    assert missing() == ["no-such-thing"] and missing("eval") == ["nor-this"] and missing("zh") == []
