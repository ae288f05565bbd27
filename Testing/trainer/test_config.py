"""One configuration: the paper's values as defaults, the same after JSON, and refusals that name the field."""

import json
import math
from pathlib import Path

import pytest

from SpinalCordSegLib.console import parse_arguments
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import to_json
from SpinalCordSegTrainerLib.cli import base_configuration, build_parser, main
from SpinalCordSegTrainerLib.config import (
    CropConfig,
    SourceConfig,
    TrainingConfig,
    from_dict,
    read_config,
    with_settings,
)


def test_round_trip_through_json() -> None:
    config = TrainingConfig(
        sources=(SourceConfig("a", 2.0, "contrast"), SourceConfig("b")),
        crop=CropConfig(size=128),
        epochs=90,
        patience=None,
    )
    assert from_dict(TrainingConfig, json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"epoch": 3}, "did you mean epochs"),
        ({"loss": {"gama": 2}}, "gama"),
        ({"rate": {"plan": "linear"}}, "rate.plan: 'linear' is not one of"),
        ({"batch_size": "15"}, '^here: batch_size: .* whole number.* "15"$'),
        ({"batch_size": True}, "^here: batch_size: .* true$"),
        ({"loss": {"gamma": math.nan}}, "^here: loss.gamma: .* number.* NaN$"),
        ({"standard": 3}, "^here: standard: .* object.* 3$"),
        ([], r"^here: the whole: .* object.* \[\]$"),
        ({"batch_size": 0}, "batch_size is 0: it must be positive"),
        ({"sources": [{"weight": 1}]}, "sources"),
        ({"crop": {"size": 100}}, "crop.size"),
        ({"rate": {"base_lr": 1, "max_lr": 0.1}}, "^here: .*base_lr"),
        ({"network": {"name": "vgg"}}, "vgg"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"seed": 1 << 63}, "seed"),
        ({"patience": -1}, "patience is -1: it must be 0 or more"),
        ({"crop": {"near_cord": 1.5}}, "near_cord is 1.5: it must be 0 to 1"),
        ({"standard": {"elastic_cells": 0}}, "elastic_cells is 0: it must be 1 or more"),
        ({"contrast": {"flip_probability": 2}}, "flip_probability is 2.0: it must be 0 to 1"),
    ],
)
def test_a_wrong_setting_is_named(data: dict, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        from_dict(TrainingConfig, data, "here")


@pytest.mark.parametrize("setting", ["rate.foo=1", "rate", "foo=1", "rate.max_lr.x=1", "epochs=many"])
def test_a_wrong_command_line_setting_is_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError):
        with_settings(TrainingConfig(), [setting])


def test_a_file_that_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_config(tmp_path / "none.json")
    broken = tmp_path / "broken.json"
    for content, why in ((b"{", "not JSON"), (b'{"name": "\xe9"}', "not JSON.*UTF-8")):
        broken.write_bytes(content)
        with pytest.raises(ConfigurationError, match=why):
            read_config(broken)


def test_short_options_and_the_list_of_settings(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "data", "--output", "run", "--set", "seed=3", "--epochs", "4", "--lr", "0.01"]
    config = base_configuration(parse_arguments(build_parser(), words))
    assert (config.seed, config.epochs, config.rate.max_lr, config.batch_size) == (3, 4, 0.01, 15)
    assert main([*words, "--epochs", "four"]) == 2
    assert "--epochs: 'four'" in capsys.readouterr().err
    assert main(["train", "--list-settings"]) == 0
    listed = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert with_settings(TrainingConfig(), listed) == TrainingConfig()
