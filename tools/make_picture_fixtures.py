"""What torchvision's networks make of small pictures: tests/fixtures/pictures/*.json.

Weights and pictures are not stored: both sides draw them from a generator (SplitMix64, as
src/reference/data.rs has it) that the name of each tensor seeds. Of each gradient its norm and two
products with drawn vectors are stored.

    pip install torch==2.15.0 torchvision==0.29.2 pillow
    python tools/make_picture_fixtures.py
"""

import json
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vgg import VGG, make_layers

OUT = Path(__file__).parent.parent / "tests/fixtures/pictures"
STEPS, RATE, MOMENTUM = 10, 0.01, 0.9


def seed_of(name: str) -> int:
    """64-bit FNV-1a."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


def uniform(name: str, count: int, low: float, high: float) -> np.ndarray:
    state = np.uint64(seed_of(name)) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(11)).astype(np.float64) / 2.0**53
    return (low + (high - low) * unit).astype(np.float32).astype(np.float64)


def bounds(name: str, shape) -> tuple[float, float]:
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        return 0.5, 1.5
    if len(shape) < 2:
        return -0.3, 0.3
    bound = (3.0 / np.prod(shape[1:])) ** 0.5
    return -bound, bound


def fill(model: nn.Module) -> None:
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.dtype == torch.int64:
                tensor.fill_(3)
                continue
            values = uniform(name, tensor.numel(), *bounds(name, tensor.shape))
            tensor.copy_(torch.from_numpy(values).reshape(tensor.shape))


def seen(name: str, tensor: torch.Tensor) -> list[float]:
    flat = tensor.detach().reshape(-1).numpy()
    products = [float(flat @ uniform(f"{name}#{n}", flat.size, -1.0, 1.0)) for n in (1, 2)]
    return [float(np.linalg.norm(flat)), *products]


def rounded(value):
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.9g}")


def make(name: str, config: dict, model: nn.Module, size: list[int], batch: int) -> None:
    model = model.double()
    fill(model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    channels = config["num_channels"]
    pixels = uniform(f"{name}/pixels", batch * channels * size[0] * size[1], -2.0, 2.0)
    pixels = torch.from_numpy(pixels).reshape(batch, channels, *size)
    labels = torch.arange(batch) * 2 % config["num_labels"]
    out = {"config": config, "size": size, "batch": batch, "labels": labels.tolist()}
    model.eval()
    out["evaluated"] = model(pixels).reshape(-1).tolist()
    # Frozen norms: the weights are trained, the statistics are the running ones.
    loss = nn.functional.cross_entropy(model(pixels), labels)
    model.zero_grad()
    loss.backward()
    out["frozen"] = {"loss": loss.item(), "grads": {n: seen(n, p.grad) for n, p in model.named_parameters()}}
    model.zero_grad()
    model.train()
    if any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
        state = {n: t.clone() for n, t in model.state_dict().items()}
        logits = model(pixels)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        out["trained"] = {"loss": loss.item(), "grads": {n: seen(n, p.grad) for n, p in model.named_parameters()}}
        model.load_state_dict(state)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    out["losses"] = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(pixels), labels)
        loss.backward()
        optimizer.step()
        out["losses"].append(loss.item())
    out["buffers"] = {
        n: seen(n, t.double()) for n, t in model.named_buffers()
    }
    model.eval()
    out["after"] = model(pixels).reshape(-1).tolist()
    out["tensors"] = {n: list(t.shape) for n, t in model.state_dict().items()}
    for key in ("evaluated", "losses", "after"):
        out[key] = rounded(out[key])
    for key in ("frozen", "trained"):
        if key in out:
            out[key]["loss"] = rounded(out[key]["loss"])
            out[key]["grads"] = {n: rounded(v) for n, v in out[key]["grads"].items()}
    out["buffers"] = {n: rounded(v) for n, v in out["buffers"].items()}
    OUT.mkdir(exist_ok=True)
    text = json.dumps(out, separators=(",", ":"))
    (OUT / f"{name}.json").write_text(text + "\n")
    print(name, len(text))


def narrow_resnet(block, depths: list[int], width: int, labels: int, stem: str) -> nn.Module:
    """torchvision's ResNet with other widths: it has them fixed."""
    model = ResNet(block, [1, 1, 1, 1], num_classes=labels)
    kernel, stride, padding = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
    model.conv1 = nn.Conv2d(3, width, kernel, stride, padding, bias=False)
    model.bn1 = nn.BatchNorm2d(width)
    if stem == "small":
        model.maxpool = nn.Identity()
    model.inplanes = width
    for stage, depth in enumerate(depths):
        layer = model._make_layer(block, width * 2**stage, depth, stride=1 if stage == 0 else 2)
        setattr(model, f"layer{stage + 1}", layer)
    for stage in range(len(depths), 4):
        setattr(model, f"layer{stage + 1}", nn.Identity())
    outputs = width * 2 ** (len(depths) - 1) * block.expansion
    model.fc = nn.Linear(outputs, labels)
    return model


def resnet(name: str, kind: str, depths: list[int], width: int, stem: str, size: list[int]) -> None:
    config = {
        "model_type": "melos-resnet",
        "architectures": ["ResNetForImageClassification"],
        "num_channels": 3,
        "stem": stem,
        "layer_type": kind,
        "embedding_size": width,
        "hidden_sizes": [width * 2**n for n in range(len(depths))],
        "depths": depths,
        "num_labels": 5,
    }
    block = BasicBlock if kind == "basic" else Bottleneck
    make(name, config, narrow_resnet(block, depths, width, 5, stem), size, 3)


def classifier(inputs: int, hidden: list[int], labels: int, first: bool = False) -> nn.Sequential:
    layers, width = [], inputs
    for n in hidden:
        linear = [nn.Linear(width, n), nn.ReLU()]
        layers += [nn.Dropout(), *linear] if first else [*linear, nn.Dropout()]
        width = n
    return nn.Sequential(*layers, nn.Linear(width, labels))


def conv(outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> dict:
    return {"conv": {"outputs": outputs, "kernel": kernel, "stride": stride, "padding": padding}}


def pool(kernel: int, stride: int, kind: str = "max_pool") -> dict:
    return {kind: {"kernel": kernel, "stride": stride, "padding": 0}}


def convnet(name, features, pooled, hidden, size, channels, layers, first=False) -> None:
    config = {
        "model_type": "melos-convnet",
        "architectures": ["ConvNetForImageClassification"],
        "image_size": size,
        "num_channels": channels,
        "features": features,
        "hidden_sizes": hidden,
        "hidden_dropout_prob": 0.0,
        "dropout_first": first,
        "num_labels": 4,
    }
    if pooled:
        config["pooled"] = pooled
    flat = layers(torch.zeros(1, channels, *size))
    outputs = flat.shape[1] * (pooled * pooled if pooled else flat.shape[2] * flat.shape[3])
    model = VGG(layers, num_classes=4)
    model.avgpool = nn.AdaptiveAvgPool2d((pooled, pooled)) if pooled else nn.Identity()
    model.classifier = classifier(outputs, hidden, 4, first)
    make(name, config, model, size, 3)


def rows(tensor: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) with the channels last."""
    return tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor


def operator(name: str, case: dict, apply, shapes: list[list[int]]) -> dict:
    """An operator's result, and the gradients of its inputs, of drawn numbers with the channels last."""
    inputs = []
    for n, shape in enumerate(shapes):
        drawn = torch.from_numpy(uniform(f"{name}/{n}", int(np.prod(shape)), -1.0, 1.0)).reshape(shape)
        drawn = drawn.permute(0, 3, 1, 2) if len(shape) == 4 else drawn
        inputs.append(drawn.requires_grad_())
    y = apply(*inputs)
    dy = torch.from_numpy(uniform(f"{name}/dy", y.numel(), -1.0, 1.0)).reshape(rows(y).shape)
    (rows(y) * dy).sum().backward()
    found = [rounded(seen(f"{name}/y", rows(y)))]
    found += [rounded(seen(f"{name}/d{n}", rows(x.grad))) for n, x in enumerate(inputs)]
    return {"name": name, **case, "shapes": shapes, "seen": found}


def operators() -> None:
    F = nn.functional
    all = []
    for n, (x, w, stride, padding, dilation, groups) in enumerate([
        ([2, 7, 6, 3], [4, 3, 2, 3], [1, 2], [1, 0], [1, 1], 1),
        ([1, 9, 8, 4], [6, 3, 3, 2], [2, 2], [2, 1], [2, 1], 2),
        ([2, 5, 5, 3], [3, 3, 3, 1], [1, 1], [1, 1], [1, 1], 3),
    ]):
        case = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        apply = lambda x, w, b: F.conv2d(x, w, b, stride, padding, dilation, groups)
        all.append(operator(f"conv{n}", {"kind": "conv", **case}, apply, [x, w, [w[0]]]))
    for n, (x, kernel, stride, padding, dilation) in enumerate([
        ([2, 7, 6, 3], [3, 2], [2, 1], [1, 0], [1, 1]), ([1, 9, 9, 2], [3, 3], [1, 2], [1, 1], [2, 1]),
    ]):
        case = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        apply = lambda x: F.max_pool2d(x, kernel, stride, padding, dilation)
        all.append(operator(f"max{n}", {"kind": "max", **case}, apply, [x]))
        case["dilation"] = [1, 1]
        apply = lambda x: F.avg_pool2d(x, kernel, stride, padding)
        all.append(operator(f"avg{n}", {"kind": "avg", **case}, apply, [x]))
    for n, (x, windows) in enumerate([([2, 7, 5, 3], [3, 2]), ([1, 4, 3, 2], [5, 3])]):
        apply = lambda x: F.adaptive_avg_pool2d(x, windows)
        all.append(operator(f"adaptive{n}", {"kind": "adaptive", "windows": windows}, apply, [x]))
    for own in (True, False):
        mean = torch.from_numpy(uniform("norm/mean", 3, -1.0, 1.0))
        var = torch.from_numpy(uniform("norm/var", 3, 0.5, 2.0))
        apply = lambda x, g, b: F.batch_norm(x, mean, var, g, b, own, 0.3, 1e-5)
        case = operator(f"norm{int(own)}", {"kind": "norm", "own": own}, apply, [[2, 4, 5, 3], [3], [3]])
        # What the batch made of the running statistics.
        case["running"] = rounded(mean.tolist() + var.tolist())
        all.append(case)
    text = json.dumps(all, separators=(",", ":"))
    (OUT / "operators.json").write_text(text + "\n")
    print("operators", len(text))


def main() -> None:
    operators()
    torch.manual_seed(0)
    resnet("resnet_basic", "basic", [2, 1, 1], 4, "imagenet", [32, 29])
    resnet("resnet_bottleneck", "bottleneck", [1, 2], 4, "small", [9, 8])
    widths = [4, "M", 6, 8, "M"]
    for norm in (False, True):
        features = []
        for width in widths:
            if width == "M":
                features.append(pool(2, 2))
                continue
            features.append(conv(width, 3, padding=1))
            features += (["batch_norm"] if norm else []) + ["activation"]
        name = "vgg_bn" if norm else "vgg"
        convnet(name, features, 3, [12, 10], [13, 14], 3, make_layers(widths, batch_norm=norm))
    lenet = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 5), nn.ReLU(), nn.AvgPool2d(2)
    )
    features = [
        conv(6, 5, padding=2), "activation", pool(2, 2),
        conv(8, 5), "activation", pool(2, 2, "avg_pool"),
    ]
    convnet("lenet", features, None, [12, 10], [16, 18], 1, lenet)
    alexnet = nn.Sequential(
        nn.Conv2d(3, 6, 7, stride=3, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
    )
    features = [conv(6, 7, 3, 2), "activation", pool(3, 2), conv(8, 3, padding=1), "activation"]
    convnet("alexnet", features, 2, [12, 10], [25, 22], 3, alexnet, first=True)
    # The names and shapes of torchvision's own networks, by which bare files are recognised.
    shapes = {}
    for name in ("resnet18", "resnet50", "alexnet", "vgg11", "vgg16_bn"):
        model = getattr(torchvision.models, name)(num_classes=7)
        shapes[name] = sum(p.numel() for p in model.parameters())
    (OUT / "parameters.json").write_text(json.dumps(shapes) + "\n")


if __name__ == "__main__":
    main()
