"""The pieces of a mask against scipy's own labelling of the whole volume, and their order in every storage order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from SpinalCordSegLib.morphometry import PieceGraph, piece_graph, slice_pieces
from SpinalCordSegLib.volume import Volume

_ALL = np.ones((3, 3, 3), bool)


def _noise(seed: int, share: float) -> np.ndarray:
    return np.random.default_rng(seed).random((9, 8, 7)) < share


def _components(voxels: np.ndarray, graph: PieceGraph) -> np.ndarray:
    """1 + the number of its component at every voxel."""
    found = np.zeros(voxels.shape, int)
    for k, numbers in graph.components().items():
        piece = graph.slices[k]
        found[piece.window[0], piece.window[1], k] = np.concatenate([[0], numbers + 1])[piece.labels]
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.02, 0.08, 0.15, 0.4]))
def test_components_are_those_of_the_whole_volume(seed: int, share: float) -> None:
    voxels = _noise(seed, share)
    found = _components(voxels, piece_graph(Volume(voxels, np.eye(4))))
    truth, count = ndimage.label(voxels, _ALL)
    pairs = np.unique(np.stack([truth[voxels], found[voxels]]), axis=1)
    assert pairs.shape[1] == count == found.max()  # one to one
    assert np.array_equal(found > 0, voxels)
    lowest = [np.argwhere(found == number)[:, 2].min() for number in range(1, count + 1)]
    assert lowest == sorted(lowest)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.03, 0.1, 0.3]), st.sets(st.integers(0, 6), max_size=4))
def test_replacing_slices_gives_what_a_new_graph_has(seed: int, share: float, slices: set[int]) -> None:
    voxels = _noise(seed, share)
    graph = piece_graph(Volume(voxels, np.eye(4)))
    fresh = _noise(seed + 1, share)
    for k in slices:
        voxels[:, :, k] = fresh[:, :, k] if k % 2 else False
    changed = graph.replaced({k: slice_pieces(voxels[:, :, k], k, (0, 0)) for k in slices})
    assert np.array_equal(_components(voxels, changed), _components(voxels, piece_graph(Volume(voxels, np.eye(4)))))


@pytest.mark.parametrize(("shift", "joined"), [((0, 0), 1), ((2, 2), 1), ((3, 0), 2), ((2, 3), 2)])
def test_corners_touch_and_a_pixel_between_parts(shift: tuple[int, int], joined: int) -> None:
    voxels = np.zeros((8, 8, 2), bool)
    voxels[1:3, 1:3, 0] = True
    voxels[1 + shift[0] : 3 + shift[0], 1 + shift[1] : 3 + shift[1], 1] = True
    graph = piece_graph(Volume(voxels, np.eye(4)))
    assert _components(voxels, graph).max() == joined


def test_an_empty_mask_has_no_piece() -> None:
    graph = piece_graph(Volume(np.zeros((3, 3, 3)), np.eye(4)))
    assert graph.slices == {} and graph.components() == {}
