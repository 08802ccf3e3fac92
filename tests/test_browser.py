"""What opens lessons in a browser says what it lacks and knows what there is; `make test-browser` opens it."""
import pytest
from tools import browser, course


def test_a_missing_browser_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    assert browser.main([]) == 2
    said = capsys.readouterr().out
    assert said.startswith("browser: no chromium is installed") and said.count("\n") == 1


def test_every_lesson_the_studio_and_the_site_are_tried():
    every = browser.named([])
    assert every == [p.stem for p in course.lessons()] + ["studio", "site"]
    assert browser.named(["12"]) == ["12_autoencoder"] and browser.named(["studio"]) == ["studio"]
    with pytest.raises(browser.BrowserError, match="say the number of a lesson"):
        browser.named(["nothing"])


def test_servers_are_for_this_machine_alone_and_keep_their_things_apart(tmp_path):
    assert "--ServerApp.ip=127.0.0.1" in browser.lab_command(8000, tmp_path)
    env = browser.environment(tmp_path / "own")
    assert env["LATENTSPEECH_DATA"] == str(tmp_path / "own") and env["JUPYTER_CONFIG_DIR"].startswith(str(tmp_path))


def test_lessons_are_copied_and_their_neighbours_in_reach(tmp_path):
    folder = browser.copy_lessons(tmp_path)
    assert {p.name for p in course.lessons()} <= {p.name for p in folder.iterdir()}
    assert (folder.parent / "data" / "results").is_dir()
