"""Does a convolution that shares its kernel over an image classify digits better than one that does not?

An image classifier with batch normalization, augmentation and a learning-rate schedule, on scikit-learn's 8×8 digits. A
starting point for your own images: replace `data`, and `model` by your network.

    paramshare check examples/image_classifier.py
    paramshare study examples/image_classifier.py --seeds 0:10
"""

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

import paramshare as ps

SIZE, CLASSES = 8, 10


class ImageClassifier(ps.Recipe):
    """A small convolutional network on digits, and its twin with a kernel for each position."""

    class Options(ps.Options):
        """The options of the commands for this recipe."""

        channels: int = Field(8, ge=1, description="channels of the first convolution; the second has twice as many")
        examples: int = Field(600, ge=1, le=1796, description="digits to train on; the others are for the test")
        shift: int = Field(1, ge=0, le=SIZE - 1, description="largest shift of a training image, in pixels")
        steps: int = Field(300, ge=1, description="steps of SGD")
        batch_size: int = Field(50, ge=2, description="images of a step")
        learning_rate: float = Field(0.1, gt=0, description="learning rate of the first step; it falls to 0")
        momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")

    variants = {"conv": None, "local": {"space"}}
    metrics = (
        ps.Metric("accuracy", "accuracy on test digits", better="higher"),
        ps.Metric("test_loss", "cross entropy on test digits, nats"),
    )
    loss_name = "cross entropy, nats"

    def data(self, generator: torch.Generator) -> ps.Data:
        """Return a random split of the digits: images (n, 1, 8, 8) from 0 to 1, and labels (n,)."""
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, SIZE, SIZE) / 16
        order = torch.randperm(len(images), generator=generator)
        train, test = order[: self.options.examples], order[self.options.examples :]
        digits = torch.tensor(labels)
        return ps.Data(train=(images[train], digits[train]), test=(images[test], digits[test]))

    def model(self) -> nn.Module:
        """Return two convolutions with batch normalization, and a Linear layer."""
        width = self.options.channels
        return nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * width, CLASSES),
        )

    def batches(self, data: tuple[Tensor, Tensor], generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch, each image shifted by a random number of pixels."""
        shift = self.options.shift
        for images, labels in super().batches(data, generator):
            rows, columns = torch.randint(2 * shift + 1, (2, len(images)), generator=generator).tolist()
            padded = pad(images, (shift,) * 4)
            corners = enumerate(zip(rows, columns, strict=True))
            shifted = [padded[place, :, row : row + SIZE, column : column + SIZE] for place, (row, column) in corners]
            yield torch.stack(shifted), labels

    def scheduler(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """Return a schedule that lowers the learning rate to 0 along half a cosine."""
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.options.steps)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Return the cross entropy of a batch, and its accuracy as a further curve."""
        images, labels = batch
        scores = model(images)
        accuracy = (scores.argmax(1) == labels).float().mean()
        return cross_entropy(scores, labels), {"accuracy": float(accuracy)}

    def evaluate(self, model: nn.Module, data: ps.Data) -> dict[str, float]:
        """Return accuracy and loss on the test digits."""
        images, labels = data.test
        scores = model(images)
        return {
            "accuracy": float((scores.argmax(1) == labels).float().mean()),
            "test_loss": float(cross_entropy(scores, labels)),
        }
