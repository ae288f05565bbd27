"""BatchNorm whose statistics are those of the batch of all ranks, on any device (torch's own refuses the CPU)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SpinalCordSegTrainerLib.training.ranks import Ranks


class SyncedBatchNorm(nn.BatchNorm2d):
    """As nn.BatchNorm2d, with mean and variance over all ranks, differentiated through. Same parameters and names."""

    ranks: Ranks

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, H, W) → the same; n may differ between ranks."""
        if not self.training:
            return super().forward(features)
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        own = values.new_full((1,), values.numel() / values.shape[1])
        sums = self.ranks.summed(torch.cat([values.sum((0, 2, 3)), own]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        # Centred first, in a second message: the mean square minus the squared mean loses digits.
        centred = values - mean[None, :, None, None]
        variance = self.ranks.summed(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), variance.detach(), count)
        scaled = centred * (self.weight * torch.rsqrt(variance + self.eps))[None, :, None, None]
        return (scaled + self.bias[None, :, None, None]).to(features.dtype)

    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / (count - 1)), share)


def sync_statistics(network: nn.Module, ranks: Ranks) -> nn.Module:
    """Make every BatchNorm of the network one over all ranks, in place; alone it is left as it is."""
    for module in network.modules() if ranks.count > 1 else ():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SyncedBatchNorm
            module.ranks = ranks  # type: ignore[assignment]
    return network
