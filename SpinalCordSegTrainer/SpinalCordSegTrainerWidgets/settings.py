"""What the panel lets the user choose, and the command line that it makes. The defaults are the trainer's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

NETWORKS = {"ra_unet": "RA-U-Net", "unet": "U-Net", "deep_unet": "Deep U-Net"}
_JSON = ("--progress", "json")


@dataclass(frozen=True)
class TrainerSettings:
    """``data``: folder of images and label maps. ``run``: folder for everything that is written. ``label``: value of
    the cord, 0 takes the only one there is. ``tolerant``: label maps on another grid are resampled. ``more``: further
    settings, "NAME=VALUE" separated by blanks. ``sweep_updates``: length of the range test, 0 is two epochs."""

    data: Path
    run: Path
    label: int = 0
    tolerant: bool = False
    name: str = "my model"
    network: str = "ra_unet"
    epochs: int = 30
    batch_size: int = 15
    base_lr: float = 1e-5
    max_lr: float = 1e-3
    augment: bool = False
    device: str = "auto"
    more: str = ""
    sweep_updates: int = 0

    @property
    def cases_chosen(self) -> tuple[Path, int, bool]:
        """All that the verdict on the cases depends on."""
        return self.data, self.label, self.tolerant

    def check(self) -> list[str]:
        """Arguments of ``spinalcordseg-train`` that look at the cases."""
        return ["check", str(self.data), "--json", *self._cases()]

    def find_rate(self) -> list[str]:
        """The range test. It and ``train`` share the slices cached in the run's folder."""
        length = ["--updates", str(self.sweep_updates)] if self.sweep_updates else []
        return ["find-lr", str(self.data), *self._run(), *length, *self._settings()]

    def train(self) -> list[str]:
        return ["train", str(self.data), *self._run(), *self._settings(), *(["--augment"] if self.augment else [])]

    def resume(self) -> list[str]:
        """Go on with the run in the folder, as it was set up; only its length may change."""
        run = ["--output", str(self.run), "--device", self.device, *_JSON]
        return ["train", "--resume", *run, "--set", f"epochs={self.epochs}"]

    def evaluate(self) -> list[str]:
        """Score the best weights on the patients that the run held out."""
        model = ["--model", str(self.run / "best.safetensors"), "--held-out", str(self.run)]
        output = ["--output", str(self.run / "evaluation"), "--device", self.device]
        return ["evaluate", str(self.data), *model, *output, "--usable", *self._cases(), *_JSON]

    def _run(self) -> list[str]:
        return ["--output", str(self.run), "--device", self.device, "--usable", *self._cases(), *_JSON]

    def _cases(self) -> list[str]:
        label = ["--label", str(self.label)] if self.label else []
        return [*label, *(["--tolerant"] if self.tolerant else [])]

    def _settings(self) -> list[str]:
        chosen = {
            "name": json.dumps(self.name, ensure_ascii=False),
            "network.name": self.network,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "rate.base_lr": self.base_lr,
            "rate.max_lr": self.max_lr,
        }
        pairs = [f"{name}={value}" for name, value in chosen.items()] + self.more.split()
        return [word for pair in pairs for word in ("--set", pair)]
