"""Sample data for the tutorial, in Slicer's Sample Data module: a public neck by its checksum, and a simulated one that
needs no network."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from SpinalCordSegNodes.volumes import node_from_volume

# T1w of one healthy adult, 1 mm, cropped around the cord. MIT licence, The Spinal Cord Toolbox's testing data.
# The checksum is that of this image in a copy of the data set; the address was put together from the repository's
# release and the path its own tests use, and has not been tried. Slicer refuses a file with another checksum.
NECK_URL = "https://raw.githubusercontent.com/spinalcordtoolbox/sct_testing_data/r20250506/t1/t1w.nii.gz"
NECK_SHA256 = "b9c5f1d04a80ddea35443afc3c87a5ff4f8c6b1c02f85584e55b81be5c4656fd"


def register() -> None:
    """Put both into the Sample Data module; where Slicer was built without it, nothing."""
    try:
        from SampleData import SampleDataLogic  # noqa: TID251  (Slicer downloads it on a click)
    except ModuleNotFoundError:
        return
    category = _("Spinal Cord Segmentation")
    SampleDataLogic.registerCustomSampleDataSource(
        category=category,
        sampleName=_("Neck T1w"),
        uris=NECK_URL,
        fileNames="NeckT1w.nii.gz",
        nodeNames="NeckT1w",
        checksums=f"SHA256:{NECK_SHA256}",
        loadFileType="VolumeFile",
    )
    SampleDataLogic.registerCustomSampleDataSource(
        category=category, sampleName=_("Simulated neck"), customDownloader=add_simulated_neck
    )


def add_simulated_neck(_source: Any = None) -> list[Any]:
    """A neck whose cord volume is known, computed in a few seconds; gives the list of its one volume node."""
    from SpinalCordSegLib.phantom import make_phantom

    phantom = make_phantom()
    node = node_from_volume(slicer.mrmlScene, phantom.image, slicer.mrmlScene.GenerateUniqueName("SimulatedNeck"))
    node.SetDescription(f"Simulated; cord volume {phantom.truth_volume_mm3:.0f} mm³")
    return [node]
