"""OpenCLIP models: creation, transforms, tokenizer, and the exchange of trained weights.

Importing this module registers the architectures of amorlip/architectures/ with OpenCLIP, so that they are known by the
stem of their file's name beside OpenCLIP's own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from amorlip.common.errors import AmorlipError, lacks_memory, one_line, unknown_key
from amorlip.common.files import write_bytes

Transform = Callable[[Image.Image], Tensor]
"""A picture → float32 (3, H, W), normalized."""

Tokenizer = Callable[..., Tensor]
"""A list of n texts → int64 (n, context length)."""

open_clip.add_model_config(Path(__file__).parent / "architectures")


def architecture(model: str) -> dict[str, Any]:
    """OpenCLIP's description of an architecture.

    Raises AmorlipError for an unknown name, and for an architecture that would fetch its tokenizer or text tower from a
    hub: training and evaluation read nothing but local files.
    """
    known = open_clip.list_models()
    if model not in known:
        raise AmorlipError(unknown_key(model, known, "model"))
    config = open_clip.get_model_config(model)
    text = config["text_cfg"]
    if text.get("hf_model_name") or text.get("hf_tokenizer_name") or "siglip" in model.lower():
        raise AmorlipError(f"model '{model}' needs a tokenizer from a hub; choose one with OpenCLIP's own, as ViT-B-32")
    return config


def create(
    model: str, *, seed: int, logit_scale_init: float | None = None, logit_bias_init: float | None = None
) -> nn.Module:
    """A new model on the CPU in float32, in training mode.

    Its weights depend on `model` and `seed` alone: neither the method nor a logit bias shifts them, and the global
    random generators are left as they were. `logit_scale_init` is τ itself (the parameter holds log τ; None: OpenCLIP's
    1/0.07); without `logit_bias_init` there is no bias. Raises AmorlipError as `architecture` does.
    """
    architecture(model)
    options = {"init_logit_bias": logit_bias_init}
    if logit_scale_init is not None:
        options["init_logit_scale"] = math.log(logit_scale_init)
    with torch.random.fork_rng(devices=[]), _silent():
        torch.manual_seed(seed)
        return open_clip.create_model(model, **options).train()


def embed_dim(model: str) -> int:
    """Width d of the common space of images and texts."""
    return architecture(model)["embed_dim"]


def image_size(model: nn.Module) -> int | tuple[int, int]:
    """Side, or height and width, of the images that the model takes [pixels]."""
    return PreprocessCfg(**model.visual.preprocess_cfg).size


class Normalization(nn.Module):
    """uint8 levels (b, 3, H, W) → float32, by the model's mean and standard deviation, on the images' device.

    Training does this on the device, to which only a quarter of the bytes go. The result is that of `eval_transform`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        config = PreprocessCfg(**model.visual.preprocess_cfg)
        for name, values in (("mean", config.mean), ("std", config.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Keeps the memory format of `images`."""
        if images.is_contiguous(memory_format=torch.channels_last):
            return _normalized(images.permute(0, 2, 3, 1), self.mean.flatten(), self.std.flatten()).permute(0, 3, 1, 2)
        return (images.to(torch.float32) / 255).sub_(self.mean).div_(self.std)


def _normalized(levels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(b, H, W, 3), uint8 → float32. A CPU takes many times as long to broadcast over three channels as over a row."""
    mean, std = mean.repeat(levels.shape[2], 1), std.repeat(levels.shape[2], 1)
    return levels.to(torch.float32).div_(255).sub_(mean).div_(std)


class EvalTransform:
    """OpenCLIP's evaluation transform in two parts: pictures one by one, then the arithmetic of a whole batch at once.

    The parts give the very floats of `image_transform_v2` on a CPU. On a GPU the levels are the same, since pictures
    are decoded and resized on the CPU; the floats may differ by 1e-6, as it multiplies with inverses.
    """

    def __init__(self, cfg: PreprocessCfg) -> None:
        *steps, _, normalize = image_transform_v2(cfg, is_train=False).transforms
        self.steps = steps
        self.mean, self.std = torch.tensor(normalize.mean), torch.tensor(normalize.std)

    def picture(self, image: Image.Image) -> np.ndarray:
        """Resized (bicubic, antialiased) and cropped: (H, W, 3), uint8."""
        for step in self.steps:
            image = step(image)
        return np.asarray(image)

    def normalize(self, pictures: Tensor) -> Tensor:
        """(B, H, W, 3), uint8 → (B, 3, H, W), float32, normalized, channels last in memory, on the same device."""
        device = pictures.device
        return _normalized(pictures, self.mean.to(device), self.std.to(device)).permute(0, 3, 1, 2)

    def __call__(self, image: Image.Image) -> Tensor:
        return self.normalize(torch.from_numpy(self.picture(image).copy())[None])[0]


def eval_transform(model: nn.Module) -> EvalTransform:
    """OpenCLIP's evaluation transform: shorter side to the model's size (bicubic), center crop, normalization."""
    return EvalTransform(PreprocessCfg(**model.visual.preprocess_cfg))


def tokenizer(model: str) -> Tokenizer:
    """The byte-pair tokenizer that ships with OpenCLIP, at the model's context length."""
    architecture(model)
    return open_clip.get_tokenizer(model)


def export(model: nn.Module, path: Path | str) -> None:
    """Write the weights as safetensors that `open_clip.create_model_and_transforms(name, pretrained=path)` loads.

    A logit bias is written as metadata, not as a tensor: features don't depend on it, and OpenCLIP refuses weights
    with a bias for an architecture without.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    bias = state.pop("logit_bias", None)
    metadata = {} if bias is None else {"logit_bias": repr(bias.item())}
    write_bytes(path, save(state, metadata={"format": "pt", **metadata}))


def load(path: Path | str, model: str) -> tuple[nn.Module, EvalTransform, Tokenizer]:
    """Trained weights in evaluation mode on the CPU, the evaluation transform and the tokenizer.

    Raises AmorlipError when the file is missing, is not safetensors or belongs to another architecture.
    """
    network = create(model, seed=0)
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise AmorlipError(f"{path}: cannot be read as safetensors ({one_line(error)}); train it again") from error
    except RuntimeError as error:
        raise AmorlipError(f"{path}: not the weights of a '{model}' ({one_line(error)})") from error
    return network.eval(), eval_transform(network), tokenizer(model)


def load_published(model: str, pretrained: str) -> tuple[nn.Module, EvalTransform, Tokenizer, Path]:
    """Any OpenCLIP model with weights of its own, as `load` gives one, and the file of the weights.

    `pretrained` is a file, or OpenCLIP's name of published weights, which are downloaded then (and only then) into the
    cache of its hub. A transform and an activation that belong to published weights are used. Pickled code is not run.
    Raises AmorlipError for an unknown name, a file that is not there, weights that are not this architecture's, and a
    tokenizer that a hub does not give.
    """
    if model not in open_clip.list_models():
        raise AmorlipError(unknown_key(model, open_clip.list_models(), "model"))
    published = open_clip.get_pretrained_cfg(model, pretrained)
    with _told(f"{model}: the weights '{pretrained}' cannot be downloaded"):
        path = Path(open_clip.download_pretrained(published) if published else pretrained)
    if not path.is_file():
        names = open_clip.list_pretrained_tags_by_model(model)
        raise AmorlipError(f"{model}: {pretrained} is no file, and {unknown_key(pretrained, names, 'weights')}")
    options = {"force_quick_gelu": published.get("quick_gelu", False), "pretrained_text": False}
    with _told(f"{path}: not the weights of a '{model}'"), _silent():
        network = open_clip.create_model(model, pretrained if published else str(path), **options)
    with _told(f"{model}: its tokenizer cannot be had"):
        tokenize = open_clip.get_tokenizer(model)
    return network.eval(), eval_transform(network), tokenize, path


@contextmanager
def _told(words: str) -> Iterator[None]:
    """Whatever fails, as one line: torch, safetensors, OpenCLIP and its hub each raise their own.

    Not a lack of memory, which has nothing to do with the files.
    """
    try:
        yield
    except Exception as error:
        if lacks_memory(error):
            raise
        raise AmorlipError(f"{words} ({one_line(error)})") from error


@contextmanager
def _silent() -> Iterator[None]:
    """OpenCLIP warns on the root logger that a new model has random weights, and so configures that logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
