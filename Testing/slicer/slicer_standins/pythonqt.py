"""PySide6 dressed as PythonQt: ``qt`` and ``ctk``, properties as attributes, ``obj.connect('signal(args)', f)``.

Strict where PythonQt is: an unknown signal, ``label.text()``, a new attribute on a C++ object or an overwritten method
are errors here as in Slicer. Importing this module changes PySide6's classes for the whole process.
"""

import ctypes
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtWidgets

qt: Any = types.ModuleType("qt")
ctk: Any = types.ModuleType("ctk")
sys.modules["qt"], sys.modules["ctk"] = qt, ctk

# C++ virtuals that are properties too: patching them makes shiboken call itself without end
_VIRTUAL = {"sizeHint", "minimumSizeHint"}


class Strictness:
    """Off while PySide6's own loader keeps children as attributes."""

    on = True


def own_properties(cls: type) -> list[Any]:
    """The Q_PROPERTYs that a class itself declares."""
    meta = cls.staticMetaObject  # type: ignore[attr-defined]
    return [meta.property(index) for index in range(meta.propertyOffset(), meta.propertyCount())]


def add_property(cls: type, declared: Any) -> None:
    """Make a Q_PROPERTY an attribute of the class, in place of its getter."""
    name = declared.name()
    if name in _VIRTUAL:
        return
    capital = name[0].upper() + name[1:]
    getter = next((g for g in (getattr(cls, n, None) for n in (name, "is" + capital)) if callable(g)), None)
    setter = getattr(cls, "set" + capital, None)
    fget = getter or (lambda self: self.property(name))
    fset = None
    if declared.isWritable():
        fset = setter or (lambda self, value: self.setProperty(name, value))
    setattr(cls, name, property(lambda self: fget(self), (lambda self, v: fset(self, v)) if fset else None))


def qt_classes() -> set[type]:
    return {c for c in vars(qt).values() if isinstance(c, type) and issubclass(c, QtCore.QObject)}


def _accepted_arguments(slot: Callable[..., Any]) -> int:
    """PythonQt leaves out surplus signal arguments for Python functions and methods (not for partial and builtins)."""
    if not (inspect.isfunction(slot) or inspect.ismethod(slot)):
        return 99
    parameters = inspect.signature(slot).parameters.values()
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return 99
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _signal(obj: Any, signature: str) -> tuple[Any, str]:
    normal = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    declared = getattr(type(obj), "SLICER_SIGNALS", ())
    if normal not in declared and obj.metaObject().indexOfSignal(normal) < 0:
        raise AttributeError(f"{obj.metaObject().className()} has no signal {normal}")
    return getattr(obj, signature.partition("(")[0]), normal


_links: dict[tuple[int, str], list[tuple[Any, Any]]] = {}


def _with_arguments(normal: str, target: Callable[..., None]) -> Callable[..., None]:
    """A function of just as many arguments as the signature has: PySide looks at that to choose what it passes."""
    inside = normal.partition("(")[2].rstrip(")")
    number = len(inside.split(",")) if inside else 0
    if number == 0:
        return lambda: target()
    return (lambda a: target(a)) if number == 1 else (lambda a, b: target(a, b))


def connect(obj: Any, signature: str, target: Any, slot: str | None = None) -> bool:
    """PythonQt's connect: to a callable, or to a receiver's slot by its name."""
    if slot is not None:
        target = getattr(target, slot.partition("(")[0])
    signal, normal = _signal(obj, signature)
    count = _accepted_arguments(target)

    call = _with_arguments(normal, lambda *arguments: target(*arguments[:count]))
    signal.connect(call)
    _links.setdefault((id(obj), normal), []).append((target, call))
    return True


def disconnect(obj: Any, signature: str, target: Any = None, slot: str | None = None) -> bool:
    signal, normal = _signal(obj, signature)
    links = _links.get((id(obj), normal), [])
    for pair in [link for link in links if target is None or link[0] == target]:
        signal.disconnect(pair[1])
        links.remove(pair)
    return True


def _strict_setattr(self: Any, name: str, value: Any) -> None:
    cls = type(self)
    native = cls.__module__.startswith("PySide6") or ("NATIVE" in vars(cls) and name[0] != "_")
    found = getattr(cls, name, None)
    if Strictness.on and native and not isinstance(value, QtCore.SignalInstance):
        if found is None and name.encode() in [bytes(n.data()) for n in self.dynamicPropertyNames()]:
            self.setProperty(name, value)
            return
        if not isinstance(found, property | QtCore.Property):
            what = "does not exist on" if found is None else "can not be overwritten on"
            raise AttributeError(f"'{name}' {what} {cls.__name__}")
    if isinstance(found, QtCore.Property):
        found.fset(self, value)
    else:
        _plain_setattr(self, name, value)


_plain_setattr = ctypes.PYFUNCTYPE(ctypes.c_int, *[ctypes.py_object] * 3)(("PyObject_GenericSetAttr", ctypes.pythonapi))


def _dress() -> None:
    for module in (QtCore, QtGui, QtWidgets, QtNetwork):
        for name in dir(module):
            if not name.startswith("_"):
                setattr(qt, name, getattr(module, name))
    for cls in qt_classes():
        for declared in own_properties(cls):
            add_property(cls, declared)
        cls.__setattr__ = _strict_setattr  # type: ignore[method-assign]  # shiboken gives every class its own slot
    QtCore.QObject.name = QtCore.QObject.objectName  # type: ignore[attr-defined]
    QtCore.QObject.className = lambda self: self.metaObject().className()  # type: ignore[attr-defined]
    QtCore.QObject.delete = QtCore.QObject.deleteLater  # type: ignore[attr-defined]
    # shiboken answers "connect" before the class is asked: go in front of it
    for cls in sorted(qt_classes(), key=lambda cls: len(cls.__mro__)):
        if "__getattribute__" in vars(cls) or cls is QtCore.QObject:
            cls.__getattribute__ = _in_front_of(cls.__getattribute__)  # type: ignore[method-assign]


def _in_front_of(plain: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    ours = {"connect": connect, "disconnect": disconnect}

    def answer(self: Any, name: str) -> Any:
        return types.MethodType(ours[name], self) if name in ours else plain(self, name)

    return answer


def _keep_none_alive() -> None:
    # Newer PySide6 wheels count on None being immortal, as it is from Python 3.12: before, every call that gives None
    # loses a reference to it, and after some 10,000 calls the interpreter aborts.
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40


_keep_none_alive()
_dress()
