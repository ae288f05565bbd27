"""The version of SpinalCordSeg, in the one place that also works inside 3D Slicer, where nothing is pip-installed."""

SOFTWARE_VERSION = "0.9.0"
