"""A model that learnt and is no better. That one is taught, and is offered, is part of the full day."""

from threshold_model import write_threshold_model


def test_a_model_that_is_no_better_stays_out_of_the_list(panel, models, tmp_path, monkeypatch):
    section, choice = panel.panel.review, panel.panel.segment.models
    choice.refresh()
    base = choice.path

    class Job:
        def __init__(self, _program, _arguments, read, **_options) -> None:
            write_threshold_model(tmp_path / "results" / "best.safetensors")
            event = {"reason": "Keep the model you have.", "model": "results/best.safetensors", "offered": False}
            self.result = read(tmp_path, event)

    monkeypatch.setattr("SpinalCordSegWidgets.jobs.Job", Job)
    monkeypatch.setattr(panel.panel, "start", lambda make, then: then(make().result))
    section.learn(tmp_path / "set")
    assert panel.panel.message == "Keep the model you have." and choice.path == base
    assert [path.name for path in models.iterdir()] == ["threshold.safetensors"]
