"""Write the graph of every network beside the models: what ONNX Runtime computes on a CPU (`make graphs`).

A graph has no numbers: those of a model's weights file are joined with it when it is used. It is the same for every
width, so it is made anew only when a network changes or comes along. ONNX Runtime is compared with torch before it is
written.
"""

from __future__ import annotations

import io

import numpy as np
import onnx
import torch
from torch import nn

from SpinalCordSegLib.model.checkpoint import NETWORKS, Checkpoint, NetworkConfig, package_models_folder
from SpinalCordSegLib.model.cpu_engine import INPUT, OUTPUT, WINDOW, CpuEngine
from SpinalCordSegLib.model.networks import RAUNet, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig

_OPSET = 17  # understood by every onnxruntime since 1.14
_MOST_APART = 1e-4


def exported(network: nn.Module) -> bytes:
    """The graph of ``network``. Its weights must all differ: equal ones would be joined into one."""
    shape = {0: "n", 2: "rows", 3: "columns"}
    example: tuple[torch.Tensor, ...] = (torch.rand(1, 1, 64, 96),)
    names = [INPUT]
    if isinstance(network, RAUNet):
        example, names = (*example, torch.tensor([8, 56, 12, 80])), [INPUT, WINDOW]
    file = io.BytesIO()
    torch.onnx.export(
        network, example, file, dynamo=False, opset_version=_OPSET, input_names=names, output_names=[OUTPUT],
        dynamic_axes={INPUT: shape, OUTPUT: shape}, do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
    )  # fmt: skip
    model = onnx.load_from_string(file.getvalue())
    graph = model.graph
    foreign = {tensor.name for tensor in graph.initializer} - network.state_dict().keys()
    assert not foreign, f"not of the weights file: {foreign}"
    del graph.initializer[:], graph.value_info[:]
    short = {name: f"v{number}" for number, name in enumerate(one for node in graph.node for one in node.output)}
    short[OUTPUT] = OUTPUT
    for node in graph.node:
        node.name = node.doc_string = ""
        node.input[:] = [short.get(name, name) for name in node.input]
        node.output[:] = [short[name] for name in node.output]
    model.producer_name, model.producer_version = "SpinalCordSeg", ""
    return model.SerializeToString(deterministic=True)


def main() -> None:
    torch.manual_seed(0)
    for name in NETWORKS:
        config = NetworkConfig(name, 1)
        network = build_network(config).eval()
        weights = {
            key: torch.rand_like(values) + 0.5 if values.is_floating_point() else values
            for key, values in network.state_dict().items()
        }
        scattered = {key: values / max(1, values[0].numel()) for key, values in weights.items() if values.dim() == 4}
        network.load_state_dict({**weights, **scattered})
        path = package_models_folder() / f"{name}.onnx"
        path.write_bytes(exported(network))
        state = {key: values.numpy() for key, values in network.state_dict().items()}
        image = torch.rand(2, 1, 96, 64)
        with torch.inference_mode():
            wanted = network(image).numpy()
        found = CpuEngine(Checkpoint("graph", "0", config, NormalisationConfig(), state)).logits(image.numpy())
        apart = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        assert apart < _MOST_APART, f"{name}: ONNX Runtime and torch differ by {apart:g} of the largest logit"
        print(f"{path}: {path.stat().st_size} bytes, logits equal to {apart:.0e}")


if __name__ == "__main__":
    main()
