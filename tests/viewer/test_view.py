"""`bige.view` and `bige view`: what can be named, what is refused, and who can reach it."""

import http.client
from pathlib import Path

import pytest
from small_models import write_squat

import bige_opensim as bige
from bige_opensim.cli import app
from bige_opensim.labelling.label import Label
from bige_opensim.viewer.live import LOOPBACK, LiveView
from bige_opensim.viewer.sources import ViewError
from bige_opensim.workflows.view import takes_of


def test_labels_in_memory_and_in_folders_and_motions_are_seen_together(label: Label, small_model: Path, tmp_path: Path):
    folder = label.save(tmp_path / "labels" / "squat")
    motion = write_squat(small_model, tmp_path / "squat.mot")
    takes = takes_of([label, folder, tmp_path / "labels", motion], 30.0, model=small_model)
    assert [t.title for t in takes] == ["motion (1)", "motion (2)", "squat (1)", "squat (2)"]
    assert [t.activations is not None for t in takes] == [True, True, True, False]
    assert len({t.person.sha256 for t in takes}) == 1


def test_a_states_file_shows_its_activations(label: Label, small_model: Path, tmp_path: Path):
    folder = label.save(tmp_path / "squat")
    take = takes_of(folder / "states.sto", 30.0, model=small_model)[0]
    assert take.activations is not None
    assert take.activations.shape[1] == len(label.activations.columns)


def test_a_motion_of_a_session_finds_its_model():
    session = bige.sample_session()
    take = takes_of(session.motion, 5.0)[0]
    assert len(take.person.paths.muscles) == 80


def test_the_file_is_written_whole_and_says_where_it_is(label: Label, tmp_path: Path):
    path = bige.view(label, html=tmp_path / "view.html")
    assert path == tmp_path / "view.html"
    assert [p.name for p in tmp_path.iterdir()] == ["view.html"]
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


@pytest.mark.parametrize("missing", ["nothing.mot", "nowhere"])
def test_what_is_not_there_is_a_sentence(tmp_path: Path, missing: str):
    with pytest.raises(ViewError, match="there is nothing of that name"):
        bige.view(tmp_path / missing, html=tmp_path / "view.html")


def test_a_motion_without_a_model_asks_for_one(small_model: Path, tmp_path: Path):
    with pytest.raises(ViewError, match="--model"):
        bige.view(write_squat(small_model, tmp_path / "squat.mot"), html=tmp_path / "view.html")


def test_the_command_writes_a_file_and_fails_with_a_sentence(
    label: Label, tmp_path: Path, capsys: pytest.CaptureFixture
):
    folder = label.save(tmp_path / "squat")
    assert app(["view", str(folder), "--html", str(tmp_path / "v.html")], result_action="return_value") == 0
    assert (tmp_path / "v.html").is_file()
    assert app(["view", str(tmp_path / "no"), "--no-open"], result_action="return_value") == 1
    assert "there is nothing of that name" in capsys.readouterr().err.replace("\n", " ")
    assert app(["view", str(folder), "--geometry", str(tmp_path / "no")], result_action="return_value") == 1


def asked(view: LiveView, path: str = "/", host: str | None = None) -> int:
    port = int(view.url.rstrip("/").rsplit(":", 1)[1])
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_live_view_serves_one_page_on_the_loopback_address_and_ends():
    view = LiveView("<p>page</p>")
    try:
        assert view.url.startswith(f"http://{LOOPBACK}:")
        assert asked(view) == 200
        assert asked(view, "/../etc/passwd") == 404
        assert asked(view, host="rebound.example:8080") == 404  # a name that another page made point here
        assert LiveView.__name__ in repr(view) or "View" in repr(view)
        second = LiveView("<p>other</p>", port=int(view.url.rstrip("/").rsplit(":", 1)[1]))
        assert second.url != view.url
        second.stop()
    finally:
        view.stop()
    with pytest.raises(OSError):
        asked(view)
