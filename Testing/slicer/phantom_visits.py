"""Visits of a phantom as measured masks of the scene, without a child process and its seconds."""

from dataclasses import replace

import slicer

from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.results import add_result, report_text, result_of
from SpinalCordSegNodes.views import CURRENT, ORIENTATIONS, PRIOR, Discs
from SpinalCordSegNodes.volumes import node_from_volume

DISC_RAS = (2.0, -20.0, 12.0)


def neck(csa_mm2: float = 75.0) -> tuple[Volume, Volume]:
    config = PhantomConfig(shape=(52, 44, 20), spacing_mm=(0.5, 0.6, 3.0), cord_csa_mm2=csa_mm2, enlargement=0.12)
    phantom = make_phantom(config)
    return phantom.image, phantom.mask


def visit(panel, scene, name: str, csa_mm2: float = 75.0, moved_mm: float = 0.0):
    """A measured mask of the scene; ``moved_mm``: how much further up the person lay."""
    volumes = []
    for one in neck(csa_mm2):
        matrix = one.ijk_to_ras.copy()
        matrix[2, 3] += moved_mm
        volumes.append(Volume.from_ijk(one.ijk, matrix))
    node = node_from_volume(scene, volumes[0], name)
    segmentation = add_result(slicer.mrmlScene, measure_mask(volumes[1], "neck"), node).segmentation
    panel.panel.current.set(segmentation)
    return segmentation


def mark(scene, volume, disc: int, ras) -> None:
    Discs(volume).add(disc).AddControlPointWorld(ras[0], ras[1], ras[2])


def find_disc(segmentation, ras) -> None:
    """As the program had found the disc C2/C3 in the visit's image."""
    result = result_of(segmentation)
    found = LevelOptions(discs=(DiscMark(3, ras_mm=ras),), automatic=True)
    result.report.SetText(report_text(replace(result.case, levels_asked=found)))


def linked_layout(scene):
    """The layout node, and the views that Slicer's layout manager would make."""
    for name in (CURRENT, PRIOR):
        for orientation in ORIENTATIONS:
            node = scene.CreateNodeByClass("vtkMRMLSliceNode")
            node.UnRegister(None)
            node.SetSingletonTag(name + orientation)
            node.SetLayoutName(name + orientation)
            scene.AddNode(node)
            scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode").SetLayoutName(name + orientation)
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(layout.SlicerLayoutNone)
    return layout
