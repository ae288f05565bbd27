"""Jobs: what the child process reports arrives whole, cancelling ends the whole tree, nothing is left behind.

The tests wait for what has to happen, however long that takes on a busy machine; pytest ends a test that hangs.
"""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.worker import ScratchFolder, remove_abandoned
from SpinalCordSegWidgets import jobs
from SpinalCordSegWidgets.jobs import Job

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups are asked for as on Linux and macOS here")

_TESTS = Path(__file__).parent
_PACKAGES = (_TESTS.parents[1] / "SpinalCordSeg", _TESTS)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Here jobs get their folders."""
    path = tmp_path / "José Pérez" / "ü 1"
    path.mkdir(parents=True)
    monkeypatch.setattr(jobs, "scratch_base", lambda: path)
    return path


def _start(*orders: str) -> Job:
    return Job("obedient_cli", orders, lambda _folder, event: event, packages=_PACKAGES)


def _finish(job: Job) -> list[dict]:
    """The events until its end."""
    events: list[dict] = []
    while job.running:
        events += job.poll()
        time.sleep(0.01)
    return events


def _wait_for(job: Job, event: str) -> dict:
    while job.running:
        for found in job.poll():
            if found.get("event") == event:
                return found
        time.sleep(0.01)
    raise AssertionError(f"no event {event}: {job.failure}")


def _wait_until_gone(pid: int) -> None:
    """A process that ended but was not waited for counts as gone."""
    while True:
        try:
            if Path("/proc").is_dir():
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    return
            else:
                os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)


def test_json_lines_arrive_whole_and_in_order(folder):
    orders = [f'say={{"event": "progress", "done": {k}, "of": 300}}' for k in range(300)]
    job = _start(*orders, "complain=a µ warning", "say=not json", "exit=1")
    assert [event["done"] for event in _finish(job)] == list(range(300))
    assert "exit code: 1" in job.failure.report and "a µ warning" in job.failure.report
    job.close()
    assert not list(folder.iterdir())


def test_environment_of_the_child(folder):
    job = _start("environment=PYTHONPATH", "environment=PYTHONUTF8", "environment=SPINALCORDSEG_SCRATCH")
    path, utf8, scratch = _finish(job)
    assert path["value"].split(os.pathsep)[:2] == [str(package) for package in _PACKAGES]
    assert (utf8["value"], scratch["value"]) == ("1", str(folder))
    assert Path(path["cwd"]) == job.folder
    job.close()


@pytest.mark.parametrize("way", ["cancel", "close"])
@pytest.mark.parametrize(
    "orders", [["grandchild"], ["be-deaf", "grandchild"], ["deaf-grandchild"]], ids=["polite", "deaf", "deaf below"]
)
def test_cancel_and_close_end_the_whole_tree(folder, orders, way):
    job = _start(*orders, "sleep=600")
    grandchild = _wait_for(job, "pid")["pid"]
    if way == "cancel":
        job.cancel()
        _finish(job)
        assert job.failure is None
    else:
        job.close()
    assert job.exit_code is not None
    _wait_until_gone(grandchild)
    job.close()
    job.cancel()  # both harmless now
    assert not list(folder.iterdir())


def test_a_crash_is_a_failure_not_a_hang(folder):
    job = _start('say={"event": "start"}', "crash")
    assert [event["event"] for event in _finish(job)] == ["start"]
    assert job.exit_code not in (0, None) and "ended unexpectedly" in job.failure.message
    job.close()
    raised = _start("raise=something")
    _finish(raised)
    assert raised.exit_code == 1 and "something" in raised.failure.report
    raised.close()


def test_python_that_is_not_there(folder, monkeypatch):
    monkeypatch.setattr(jobs.shutil, "which", lambda _name: str(folder / "none"))
    with pytest.raises(OutputError, match="could not be started"):
        _start()
    assert not list(folder.iterdir())


def test_the_worker_does_not_outlive_its_parent_and_removes_what_it_left(tmp_path):
    """The parent is killed, as by a crash of Slicer: no cleanup of its own runs."""
    code = f"""
import json, sys, time
sys.path[:0] = {[str(path) for path in _PACKAGES]!r}
from pathlib import Path
from slicer_standins import scripted
scripted.publish()
from SpinalCordSegWidgets import jobs
jobs.scratch_base = lambda: Path({str(tmp_path)!r})
job = jobs.Job("obedient_cli", ["write=input.nrrd", 'say={{"event": "ready"}}', "sleep=600"], None,
               packages={[str(path) for path in _PACKAGES]!r})
while not job.poll():
    time.sleep(0.01)
print(json.dumps([job._process.pid, str(job.folder)]), flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    pid, path = json.loads(parent.stdout.readline())
    assert (Path(path) / "input.nrrd").is_file()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _wait_until_gone(pid)
    assert not Path(path).exists()


def test_a_parent_without_a_heartbeat_does_not_end_the_worker(tmp_path):
    """A launcher in between may close standard input."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, _PACKAGES)))
    command = [sys.executable, "-m", "SpinalCordSegLib.worker", "obedient_cli", "sleep=0.3", "exit=7"]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, check=False)
    assert ended.returncode == 7


def test_scratch_folders_in_use_stay_and_abandoned_ones_go(tmp_path):
    mine, left = ScratchFolder(tmp_path), ScratchFolder(tmp_path)
    (left.path / "input.nrrd").write_bytes(b"an image")
    left._lock.close()  # as the system does when the owner ends
    (tmp_path / "spinalcordseg-notes").mkdir()  # looks alike, has no lock: not ours
    code = "import sys; from pathlib import Path; from SpinalCordSegLib.worker import remove_abandoned as r;"
    command = [sys.executable, "-c", f"{code} print(r(Path(sys.argv[1])))", str(tmp_path)]
    environment = dict(os.environ, PYTHONPATH=str(_PACKAGES[0]))
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "1\n"
    assert mine.path.exists() and not left.path.exists() and (tmp_path / "spinalcordseg-notes").exists()
    mine.remove()
    mine.remove()
    assert not mine.path.exists() and remove_abandoned(tmp_path) == 0
    assert mine.path.name.isascii()


def test_an_image_that_could_not_be_removed_goes_the_next_time(tmp_path, monkeypatch):
    """On Windows one that another program has open stays; the folder must still be known as ours."""
    scratch = ScratchFolder(tmp_path)
    (scratch.path / "volume.nrrd").write_bytes(b"an image")
    (scratch.path / "out").mkdir()
    unlink = Path.unlink

    def refuse(path, *arguments, **options):
        if path.suffix == ".nrrd":
            raise PermissionError(13, "used by another process")
        unlink(path, *arguments, **options)

    with monkeypatch.context() as held:
        held.setattr(Path, "unlink", refuse)
        scratch.remove()
        assert remove_abandoned(tmp_path) == 0
    assert sorted(path.name for path in scratch.path.iterdir()) == ["owner.lock", "volume.nrrd"]
    assert remove_abandoned(tmp_path) == 1 and not scratch.path.exists()


def test_windows_gets_its_own_group_no_window_and_taskkill_for_the_tree(monkeypatch, folder):
    """What is asked of Windows, with its parts of subprocess put in place: the real thing needs a Windows machine."""
    started: list[tuple[list[str], dict]] = []
    killed: list[list[str]] = []

    class Popen:
        pid, stdin = 77, io.BytesIO()

        def __init__(self, command, **options):
            started.append((command, options))

        def poll(self):
            return 1 if killed else None

        def wait(self, timeout):
            if not killed:
                raise subprocess.TimeoutExpired("worker", timeout)

    windows = SimpleNamespace(
        Popen=Popen,
        PIPE=subprocess.PIPE,
        CREATE_NEW_PROCESS_GROUP=0x200,
        TimeoutExpired=subprocess.TimeoutExpired,
        run=lambda command, **options: killed.append(command),
    )
    monkeypatch.setattr(jobs, "subprocess", windows)
    monkeypatch.setattr(jobs, "os", SimpleNamespace(name="nt", environ=os.environ, pathsep=";"))
    job = _start("sleep=9")
    command, options = started[0]
    assert command[1:5] == ["-m", "SpinalCordSegLib.worker", "obedient_cli", "sleep=9"] and "shell" not in options
    assert options["creationflags"] == 0x200 | 0x08000000 and "start_new_session" not in options
    assert options["env"]["PYTHONPATH"].startswith(f"{_PACKAGES[0]};{_PACKAGES[1]}")
    job.close()
    assert killed == [["taskkill", "/T", "/F", "/PID", "77"]] and Popen.stdin.closed


def test_a_report_holds_neither_days_nor_persons(folder):
    person, day = "Perez-1957", "2019-03-04"
    said = json.dumps({"event": "error", "message": f"{person}: visit 1 ({day}) was at 47 years, by Dr A. Meyer"})
    given = ["--date=2024-01-31", f"--date={day}", "--date=", "--disc=C2/C3=1.0,-2.5,3.0", "--person", person]
    given += ["--age", "47", "--by", "Dr A. Meyer", "--subject=A7", "--output", "results", "--person"]
    orders = [f"say={said}", f"complain=no slice 3.0 of A7 at {day}", "complain=1.0,-2.5,3.0", "exit=3"]
    job = _start(*given, *orders)
    _finish(job)
    report = job.failure.report
    job.close()
    for secret in (person, day, "2024", "47", "Meyer", "A7", "1.0,-2.5,3.0"):
        assert secret not in report, report
    assert "--date=VALUE --date=VALUE --date= --disc=VALUE --person VALUE --age VALUE --by VALUE" in report
    assert "--output results" in report and "VALUE: visit 1 (VALUE) was at VALUE years" in report
    assert "no slice 3.0 of VALUE" in report and "exit code: 3" in report
