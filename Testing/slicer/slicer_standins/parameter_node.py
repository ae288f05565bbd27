"""Stand-in for slicer.parameterNodeWrapper: typed fields over a script node, bound to widgets by SlicerParameterName.

Knows str, bool, int, float and node classes, and the widgets of the modules; anything else is an error.
"""

import sys
import types
import typing
from dataclasses import dataclass
from typing import Any

import slicer

from slicer_standins.pythonqt import qt

_PLAIN = (str, bool, int, float)
_INT_LIMITS = (-(2**31), 2**31 - 1)


@dataclass(frozen=True)
class WithinRange:
    """For ``Annotated[int, WithinRange(0, 9)]``: checked when written, and the limits of a bound spin box."""

    minimum: int
    maximum: int


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator. The class is then made with the script node: ``Parameters(logic.getParameterNode())``."""
    if any(isinstance(annotation, str) for annotation in cls.__annotations__.values()):
        raise TypeError(f"{cls.__name__}: annotations that are strings cannot be read while Slicer loads the file")
    fields = typing.get_type_hints(cls)
    hints = typing.get_type_hints(cls, include_extras=True).items()
    ranges = {name: hint.__metadata__[0] for name, hint in hints if hasattr(hint, "__metadata__")}

    def make(self: Any, node: Any) -> None:
        object.__setattr__(self, "parameterNode", node)
        object.__setattr__(self, "_links", {})
        for name, kind in fields.items():
            if kind in _PLAIN and not node.GetParameter(name):
                setattr(self, name, defaults.get(name, kind()))

    defaults = {name: vars(cls)[name] for name in fields if name in vars(cls)}
    for name, kind in fields.items():
        setattr(cls, name, _field(name, kind, ranges.get(name)))
    cls.RANGES = ranges  # type: ignore[attr-defined]
    cls.__init__ = make  # type: ignore[misc]
    cls.__setattr__ = _only_fields(fields)  # type: ignore[method-assign]
    # No connectGui: up to Slicer 5.12 it gives no tag, so that nothing it connects is ever disconnected.
    cls.connectParametersToGui = _connect_parameters  # type: ignore[attr-defined]
    cls.disconnectGui = _disconnect_gui  # type: ignore[attr-defined]
    return cls


def _only_fields(fields: dict[str, Any]):
    def set_field(self: Any, name: str, value: Any) -> None:
        if name not in fields:
            raise AttributeError(f"the parameter node has no field {name}")
        object.__setattr__(self, name, value)

    return set_field


def _field(name: str, kind: Any, limits: WithinRange | None) -> property:
    if kind in _PLAIN:

        def read(self: Any) -> Any:
            text = self.parameterNode.GetParameter(name)
            return text == "true" if kind is bool else kind(text)

        def write(self: Any, value: Any) -> None:
            if not isinstance(value, kind):
                raise TypeError(f"{name}: expected {kind.__name__}, found {type(value).__name__}")
            if limits is not None and not limits.minimum <= value <= limits.maximum:
                raise ValueError(f"{name}: {value} is not within {limits}")
            self.parameterNode.SetParameter(name, str(value).lower() if kind is bool else str(value))

        return property(read, write)

    def read_node(self: Any) -> Any:
        return self.parameterNode.GetNodeReference(name)

    def write_node(self: Any, node: Any) -> None:
        if node is not None and not isinstance(node, kind):
            raise TypeError(f"{name}: expected a {kind.__name__}")
        self.parameterNode.SetNodeReferenceID(name, node.GetID() if node is not None else None)

    return property(read_node, write_node)


def _connect_parameters(self: Any, widgets: dict[str, Any]) -> int:
    """Both ways: the widgets take the values now, then each follows the other. Gives a tag for disconnectGui."""
    pairs = list(widgets.items())
    for field_name, target in pairs:
        _limit(target, self.RANGES.get(field_name))
    state = {"updating": False}

    def to_widgets(*_: Any) -> None:
        if state["updating"]:
            return
        state["updating"] = True
        try:
            for field_name, target in pairs:
                _show(target, getattr(self, field_name))
        finally:
            state["updating"] = False

    to_widgets()
    undo = [_follow(self, name, widget, state) for name, widget in pairs]
    observer = self.parameterNode.AddObserver("ModifiedEvent", to_widgets)
    tag = len(self._links) + 1
    self._links[tag] = (observer, undo)
    return tag


def _limit(widget: Any, limits: WithinRange | None) -> None:
    """As Slicer's connectors do it, welcome or not."""
    if isinstance(widget, qt.QLineEdit):
        raise TypeError(f"{widget.objectName}: bound, the cursor jumps to the end at every key; keep it by hand")
    if isinstance(widget, qt.QSpinBox):
        widget.setRange(*(_INT_LIMITS if limits is None else (limits.minimum, limits.maximum)))


def _disconnect_gui(self: Any, tag: int | None) -> None:
    if tag not in self._links:
        return
    observer, undo = self._links.pop(tag)
    self.parameterNode.RemoveObserver(observer)
    for widget, signal, slot in undo:
        widget.disconnect(signal, slot)


def _show(widget: Any, value: Any) -> None:
    if isinstance(widget, slicer.qMRMLNodeComboBox):
        widget.setCurrentNode(value)
    elif isinstance(widget, qt.QCheckBox):
        widget.checked = value
    elif isinstance(widget, qt.QSpinBox):
        widget.value = value
    else:
        raise TypeError(f"{widget.className()} cannot be bound to a parameter here")


def _follow(self: Any, name: str, widget: Any, state: dict[str, bool]) -> tuple[Any, str, Any]:
    def to_node(value: Any) -> None:
        if not state["updating"]:
            setattr(self, name, value)

    if isinstance(widget, slicer.qMRMLNodeComboBox):
        signal = "currentNodeChanged(vtkMRMLNode*)"
    elif isinstance(widget, qt.QCheckBox):
        signal = "toggled(bool)"
    else:
        signal = "valueChanged(int)"
    widget.connect(signal, to_node)
    return widget, signal, to_node


def publish() -> None:
    module: Any = types.ModuleType("slicer.parameterNodeWrapper")
    module.parameterNodeWrapper, module.WithinRange = parameterNodeWrapper, WithinRange
    slicer.parameterNodeWrapper = sys.modules["slicer.parameterNodeWrapper"] = module
