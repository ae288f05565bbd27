"""Stand-in for qSlicerCoreIOManager: what slicer.util loads and saves with, done by Slicer's own storage nodes."""

import os
from pathlib import Path
from typing import Any

import slicer


class CoreIOManager:
    def __init__(self, scene: Any, logics: dict[str, Any]) -> None:
        self._scene, self._logics = scene, logics

    def fileWriterFileType(self, _node: Any, *_: Any) -> str:
        return "Node"

    def loadNodes(self, file_type: str, properties: dict[str, Any], loaded: Any = None, _messages: Any = None) -> bool:
        """True, and the node added to ``loaded``, when the file could be read."""
        path = properties["fileName"]
        if not os.path.exists(path):
            return False
        if file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)))
        name = properties.get("name") or Path(path).name.split(".")[0]
        node = self._volume(path, name, properties) if file_type == "VolumeFile" else self._segmentation(path, name)
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def saveNodes(self, file_type: str, properties: dict[str, Any], _messages: Any = None) -> bool:
        if file_type == "SceneFile":
            return self._save_scene(properties["fileName"])
        node = self._scene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(properties["fileName"])
        storage = node.GetStorageNode()
        storage.SetFileName(properties["fileName"])
        if "useCompression" in properties:
            storage.SetUseCompression(bool(properties["useCompression"]))
        return bool(storage.WriteData(node))

    def _volume(self, path: str, name: str, properties: dict[str, Any]) -> Any:
        flags = {"labelmap": 1, "center": 2, "singleFile": 4}
        options = sum(bit for key, bit in flags.items() if properties.get(key))
        return self._logics["volumes"].AddArchetypeVolume(path, name, options)

    def _segmentation(self, path: str, name: str) -> Any:
        node = self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode", self._scene.GenerateUniqueName(name))
        storage = self._scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(path)
        node.SetAndObserveStorageNodeID(storage.GetID())
        if not storage.ReadData(node):
            raise AssertionError(f"{path} cannot be read as a segmentation")
        node.CreateDefaultDisplayNodes()
        return node

    def _load_scene(self, path: str, clear: bool) -> bool:
        if clear:
            self._scene.Clear(False)
        if path.endswith(".mrb"):
            return bool(self._scene.ReadFromMRB(path, clear))
        self._scene.SetURL(path)
        return bool(self._scene.Connect() if clear else self._scene.Import())

    def _save_scene(self, path: str) -> bool:
        self._scene.SetRootDirectory(os.path.dirname(os.path.abspath(path)))
        self._scene.SetURL(path)
        if path.endswith(".mrb"):
            return bool(self._scene.WriteToMRB(path))
        if path.endswith(".mrml"):
            return bool(self._scene.Commit(path))
        os.makedirs(path, exist_ok=True)
        return bool(self._scene.SaveSceneToSlicerDataBundleDirectory(path, None))


def add_remote_io(scene: Any, application_logic: Any, cache_folder: str) -> tuple[Any, Any]:
    """Give the scene the cache manager without which an .mrb cannot be read. Keep what is returned alive."""
    remote, data = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
    for logic in (remote, data):
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application_logic)
    remote.GetCacheManager().SetRemoteCacheDirectory(cache_folder)
    data.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    return remote, data
