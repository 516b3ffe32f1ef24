"""NDLP's step in eager PyTorch: the same network, losses, state update and optimiser as the JAX step.

Written for speed as a PyTorch user would: channels_last, foreach SGD, no gradient in frozen stages, autocast for
bfloat16, TF32 for float32 on a GPU. The mixup pass runs over all rows of the batch with the unreliable ones weighted
by zero, as the JAX step does; normalisation is part of the step, colour distortion is left out on both sides.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def conv_norm(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = width * (4 if bottleneck else 1)
        if bottleneck:
            units = [conv_norm(inputs, width, 1), conv_norm(width, width, 3, stride), conv_norm(width, outputs, 1)]
        else:
            units = [conv_norm(inputs, width, 3, stride), conv_norm(width, outputs, 3)]
        self.units = nn.ModuleList(units)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for unit in self.units[:-1]:
            y = functional.relu(unit(y), inplace=True)
        return functional.relu(self.units[-1](y) + self.shortcut(x), inplace=True)


class Classifier(nn.Module):
    """ResNet with stored statistics, stem and first stage frozen; neck (linear, BatchNorm, dropout); head."""

    def __init__(self, backbone: str, classes: int, neck_width: int = 256) -> None:
        super().__init__()
        bottleneck = backbone == "resnet50"
        self.stem, inputs, stages = conv_norm(3, 64, 7, 2), 64, []
        for number, depth in enumerate(DEPTHS[backbone]):
            width = 64 * 2**number
            for block in range(depth):
                stages.append(Block(inputs, width, 2 if number and not block else 1, bottleneck))
                inputs = width * (4 if bottleneck else 1)
        self.frozen = nn.Sequential(*stages[: DEPTHS[backbone][0]])
        self.blocks = nn.Sequential(*stages[DEPTHS[backbone][0] :])
        self.neck, self.norm = nn.Linear(inputs, neck_width), nn.BatchNorm1d(neck_width)
        self.head = nn.Linear(neck_width, classes)
        for part in (self.stem, self.frozen):
            part.requires_grad_(False)
        for module in (self.stem, self.frozen, self.blocks):
            module.eval()  # stored statistics

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.stem(images), inplace=True)
        x = self.frozen(functional.max_pool2d(x, 3, 2, 1))
        pooled = self.blocks(x).mean((2, 3)).float()
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(functional.dropout(self.norm(self.neck(pooled)), 0.5))


class Step:
    """A model, an optimiser and NDLP's state; calling it takes one step on a batch as the JAX step has it."""

    def __init__(
        self, backbone: str, candidates: Any, prior: Any, settings: Any, db: Any, plan: Any, dtype: str
    ) -> None:
        """candidates [N, C], 1 where a class may be present; prior, settings, db, plan: as in ltpml_jax.methods."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        table = torch.as_tensor(np.array(candidates), dtype=torch.float32, device=self.device)
        self.model = Classifier(backbone, table.shape[1]).to(self.device, memory_format=torch.channels_last)
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.SGD(trained, 0.02, momentum=0.9, weight_decay=1e-4, foreach=True)
        self.count = table.sum(0)
        self.confidence = table / table.sum(1, keepdim=True).clamp(min=1)
        self.total, self.distribution = self.confidence.sum(0), torch.full_like(self.count, 1 / len(self.count))
        size = float(prior.train_size)
        self.prior = torch.as_tensor(np.array(prior.class_count), device=self.device).clamp(1, size - 0.5)
        self.bias = -torch.log(size / self.prior - 1) * db.init_bias / db.neg_scale
        self.ndlp, self.db, self.epochs = settings, db, plan.epochs
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=dtype == "bfloat16")
        self.mean, self.std = (torch.tensor(value, device=self.device).view(3, 1, 1) for value in (MEAN, STD))
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def placed(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """A batch of NumPy arrays on the device."""
        return {name: torch.as_tensor(array, device=self.device) for name, array in batch.items()}

    def __call__(self, image: Tensor, index: Tensor, states: Tensor) -> Tensor:
        index, label, epoch = index.long(), (states != 0).float(), 1
        images = (image.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std  # channels_last already
        rows = self.confidence[index]
        sharp = rows**self.ndlp.gamma
        sharp = sharp / sharp.sum(1, keepdim=True).clamp(min=1e-12)
        hard = (sharp > self.total / self.count.clamp(min=1)).float()
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.forward(images)
        loss = self.loss(logits, hard)
        loss.mean().backward()
        with torch.no_grad():
            reliable = self.select(loss.mean(1), hard, epoch)
            weight = max(share := torch.distributions.Beta(4.0, 4.0).sample().item(), 1 - share)
            members = torch.nonzero(reliable)[:, 0]
            partner = torch.arange(len(index), device=self.device)
            partner[members] = members[torch.randperm(len(members), device=self.device)]
            mixed, soft = (weight * value + (1 - weight) * value[partner] for value in (images, sharp))
        second = self.loss(self.forward(mixed), soft)
        eta = self.ndlp.eta * epoch / self.epochs
        (eta * (second * reliable[:, None]).sum() / (reliable.sum() * second.shape[1]).clamp(min=1)).backward()
        self.update(index, label, rows, logits.detach() + self.bias)
        self.optimizer.step()
        return loss.detach().mean()

    def forward(self, images: Tensor) -> Tensor:
        with self.autocast:
            return self.model(images)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Distribution-balanced focal loss [B, C]."""
        db, inverse = self.db, 1 / self.prior
        repeat = (labels * inverse).sum(1, keepdim=True)
        weight = torch.sigmoid(db.map_beta * (inverse / repeat.clamp(min=1e-12) - db.map_theta)) + db.map_alpha
        scaled = (logits + self.bias) * (db.neg_scale * (1 - labels) + labels)
        bce = functional.binary_cross_entropy_with_logits(scaled, labels, reduction="none")
        weight = weight * ((1 - labels) / db.neg_scale + labels)
        return 2 * torch.expm1(-bce).square() * weight * bce

    def select(self, sample_loss: Tensor, hard: Tensor, epoch: int) -> Tensor:
        """Reliable samples bool [B]."""
        first, last = self.ndlp.alpha
        alpha = first + (last - first) * epoch / self.epochs
        quota = torch.ceil(self.distribution * len(hard) * alpha).clamp(min=1)
        order = torch.argsort(sample_loss)
        carrier = hard[order] > 0
        reliable = torch.zeros_like(sample_loss, dtype=torch.bool)
        reliable[order] = (carrier & (carrier.cumsum(0) <= quota)).any(1)
        return reliable

    @torch.no_grad()
    def update(self, index: Tensor, label: Tensor, rows: Tensor, adjusted: Tensor) -> None:
        """Label correction, running column sums and class distribution."""
        target = torch.where(label > 0, torch.softmax(adjusted.masked_fill(label <= 0, -torch.inf), 1), 0)
        new = (1 - self.ndlp.correction_rate) * rows + self.ndlp.correction_rate * target.nan_to_num(0)
        self.total += (new - rows).sum(0)
        self.confidence[index] = new
        share = rows.sum(0) / rows.sum().clamp(min=1e-12)
        ratio = self.distribution / (torch.where(share == 0, self.distribution, share) + 1e-8)
        self.distribution = ratio / ratio.sum()

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak(self) -> int:
        """Peak bytes on a GPU, 0 elsewhere."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else 0
