"""The button that teaches the chosen model a training set: the command that is run, and what comes of it."""

from threshold_model import write_threshold_model

_LIBRARIES = ("SpinalCordSegLib", "SpinalCordSegTrainerLib")


def test_a_better_model_comes_into_the_list(panel, tmp_path, monkeypatch):
    monkeypatch.setenv("SPINALCORDSEG_MODELS", str(tmp_path / "models"))
    section, models, begun = panel.panel.review, panel.panel.segment.models, []
    base = write_threshold_model(tmp_path / "models" / "threshold.safetensors")
    models.refresh()

    class Job:
        def __init__(self, program, arguments, read, **options) -> None:
            write_threshold_model(tmp_path / "results" / "best.safetensors")
            begun.append((program, arguments, options["packages"]))
            event = {"reason": "Dice 0.950 → 0.965", "model": "results/best.safetensors", "offered": len(begun) == 1}
            self.result = read(tmp_path, event)

    monkeypatch.setattr("SpinalCordSegWidgets.jobs.Job", Job)
    monkeypatch.setattr(panel.panel, "start", lambda make, then: then(make().result))
    assert section.ui.learnButton.isEnabled(), section.ui.learnButton.toolTip
    section.learn(tmp_path / "set")
    program, words, packages = begun[0]
    assert program == "SpinalCordSegTrainerLib.cli" and words[:2] == ["train", str(tmp_path / "set")]
    assert words[words.index("--recipe") + 1] == "corrections" and "--from" in words
    assert [any((folder / name).is_dir() for folder in packages) for name in _LIBRARIES] == [True, True]
    assert models.path.name == "threshold-2.safetensors" and panel.panel.message == "Dice 0.950 → 0.965"
    section.learn(tmp_path / "set")  # one that is no better stays out of the list
    assert len(list((tmp_path / "models").iterdir())) == 2 and base != models.path
