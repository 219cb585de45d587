"""OpenCLIP models: how they are created, saved and loaded, with their transforms and tokenizers.

Importing this module registers the architectures of amorlip/architectures/ with OpenCLIP; the name of each is its
file's name without the extension.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import open_clip
import torch
from open_clip import factory
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torchvision.transforms import Compose

from amorlip.common import files
from amorlip.common.errors import AmorlipError, lacks_memory, one_line, unknown_key
from amorlip.config.architectures import needs_hub

Transform = Callable[[Image.Image], Tensor]
"""A picture → float32 (3, H, W), normalized."""

Tokenizer = Callable[..., Tensor]
"""A list of n texts → int64 (n, context length)."""

open_clip.add_model_config(Path(__file__).parent / "architectures")


def architecture(model: str) -> dict[str, Any]:
    """OpenCLIP's description of an architecture.

    Raises AmorlipError for an unknown name, and for an architecture whose tokenizer or text tower comes from a hub:
    training and evaluation only read local files.
    """
    known = open_clip.list_models()
    # OpenCLIP would ask a hub about some unknown names, so the list comes first.
    config = open_clip.get_model_config(model) if model in known else None
    if config is None:
        raise AmorlipError(unknown_key(model, known, "model"))
    if needs_hub(model, config):
        raise AmorlipError(f"model '{model}' needs a tokenizer from a hub; use a model with OpenCLIP's, e.g. ViT-B-32")
    return config


def create(
    model: str, *, seed: int, logit_scale_init: float | None = None, logit_bias_init: float | None = None
) -> nn.Module:
    """A new model on the CPU in float32, in training mode.

    Its weights depend on `model` and `seed` alone: neither the method nor a logit bias shifts them, and the global
    random generators are left as they were. `logit_scale_init` is τ itself (the parameter holds log τ; None: OpenCLIP's
    1/0.07); without `logit_bias_init`, the model has no bias. Raises AmorlipError as `architecture` does.
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
    return _preprocess_cfg(model).size


def _preprocess_cfg(model: nn.Module) -> PreprocessCfg:
    return PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))


class Normalization(nn.Module):
    """uint8 levels (b, 3, H, W) → float32, by the model's mean and standard deviation, on the images' device.

    Training does this on the device, to which only a quarter of the bytes go. The result is that of `eval_transform`.
    """

    mean: Tensor
    """(1, 3, 1, 1)."""
    std: Tensor
    """(1, 3, 1, 1)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        config = _preprocess_cfg(model)
        for name, values in (("mean", config.mean), ("std", config.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Keeps the memory format of `images`."""
        if images.is_contiguous(memory_format=torch.channels_last):
            return _normalized(images.permute(0, 2, 3, 1), self.mean.flatten(), self.std.flatten()).permute(0, 3, 1, 2)
        return (images.to(torch.float32) / 255).sub_(self.mean).div_(self.std)


def _normalized(levels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(b, H, W, 3), uint8 → float32."""
    # A CPU takes many times as long to broadcast over three channels as over a row.
    mean, std = mean.repeat(levels.shape[2], 1), std.repeat(levels.shape[2], 1)
    return levels.to(torch.float32).div_(255).sub_(mean).div_(std)


class EvalTransform:
    """OpenCLIP's evaluation transform in two parts: one picture at a time, then the arithmetic of a whole batch.

    On a CPU, the floats are equal to those of `image_transform_v2`. On a GPU, they may differ by 1e-6, because it
    multiplies by inverses; the levels are the same, since pictures are resized on the CPU.
    See docs/decisions/2026-11-24-evaluation-images.md.
    """

    def __init__(self, cfg: PreprocessCfg) -> None:
        # Resize, crop, conversion to RGB; then ToTensor, which `normalize` does for a batch, and Normalize.
        *steps, _, normalize = cast(Compose, image_transform_v2(cfg, is_train=False)).transforms
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
    return EvalTransform(_preprocess_cfg(model))


def tokenizer(model: str) -> Tokenizer:
    """The byte-pair tokenizer that ships with OpenCLIP, at the model's context length."""
    architecture(model)
    return open_clip.get_tokenizer(model)


def export(model: nn.Module, path: Path | str) -> None:
    """Write the weights as safetensors that `open_clip.create_model_and_transforms(name, pretrained=path)` loads.

    A logit bias is written as metadata, not as a tensor: features do not depend on it, and OpenCLIP refuses weights
    with a bias for an architecture without one.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    bias = state.pop("logit_bias", None)
    metadata = {} if bias is None else {"logit_bias": repr(bias.item())}
    files.write_bytes(path, _sorted_metadata(save(state, metadata={"format": "pt", **metadata})))


def _sorted_metadata(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted: safetensors itself writes them in random order, from a hash map.

    The same weights are then the same bytes. Format: 8 bytes for the header's length, the header as JSON, the tensors.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:8] + text.ljust(length) + content[8 + length :]


@dataclass(frozen=True)
class LoadedModel:
    """Trained weights in evaluation mode on the CPU, with the transform and the tokenizer that belong to them."""

    network: nn.Module
    preprocess: EvalTransform
    tokenizer: Tokenizer
    weights: Path
    """The file of the weights."""
    sha256: str
    """Checksum of the file that was read, which may have been replaced since."""


def load(path: Path, model: str) -> LoadedModel:
    """Load the weights of a run.

    Raises AmorlipError when the file is missing, is not safetensors or belongs to another architecture.
    """
    network = create(model, seed=0)
    try:
        with _unchanged(path) as sha256:
            network.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise AmorlipError(f"{path}: cannot be read as safetensors ({one_line(error)}); train it again") from error
    except RuntimeError as error:
        raise AmorlipError(f"{path}: not the weights of a '{model}' ({one_line(error)})") from error
    return LoadedModel(network.eval(), eval_transform(network), tokenizer(model), path, sha256)


@contextmanager
def _unchanged(path: Path) -> Iterator[str]:
    """The checksum of the bytes that the block reads. Raises AmorlipError if the file is replaced or changed within."""
    before = path.stat()
    yield files.sha256(path)
    after = path.stat()
    # The time of the last change cannot be set by hand, unlike that of the last modification.
    if (before.st_dev, before.st_ino, before.st_ctime_ns) != (after.st_dev, after.st_ino, after.st_ctime_ns):
        raise AmorlipError(f"{path} was changed while it was read; run again")


def load_published(model: str, pretrained: str) -> LoadedModel:
    """Load weights that were not trained here, into any of OpenCLIP's architectures.

    `pretrained` is a file, or OpenCLIP's name for published weights. Those are downloaded into the cache of
    OpenCLIP's hub, and used with the transform and the activation they were trained with. Pickled code is not run.
    Raises AmorlipError for an unknown name, a missing file, weights of another architecture, and a tokenizer that
    cannot be downloaded.
    """
    path, published = published_file(model, pretrained), open_clip.get_pretrained_cfg(model, pretrained)
    with (
        _unchanged(path) as sha256,
        _one_line_errors(f"{path}: not the weights of a '{model}'"),
        _silent(),
        _no_foreign_code(),
    ):
        network = open_clip.create_model(
            model,
            pretrained if published else str(path),
            force_quick_gelu=bool(published.get("quick_gelu", False)),
            pretrained_text=False,  # else a text tower from a hub would be downloaded, only to be overwritten
        )
    return LoadedModel(network.eval(), eval_transform(network), published_tokenizer(model), path, sha256)


def published_file(model: str, pretrained: str) -> Path:
    """The file of published weights, which are downloaded into the cache of OpenCLIP's hub unless they are there.

    Raises AmorlipError for an unknown name, a missing file, and weights that cannot be downloaded.
    """
    if model not in open_clip.list_models():
        raise AmorlipError(unknown_key(model, open_clip.list_models(), "model"))
    published = open_clip.get_pretrained_cfg(model, pretrained)
    with _one_line_errors(f"{model}: the weights '{pretrained}' cannot be downloaded"):
        path = Path(open_clip.download_pretrained(published) if published else pretrained)
    if not path.is_file():
        names = open_clip.list_pretrained_tags_by_model(model)
        raise AmorlipError(f"{model}: {pretrained} is not a file, and {unknown_key(pretrained, names, 'weights')}")
    return path


def published_tokenizer(model: str) -> Tokenizer:
    """The tokenizer of any of OpenCLIP's architectures. Raises AmorlipError if it cannot be downloaded from its hub."""
    with _one_line_errors(f"{model}: its tokenizer cannot be loaded"), _no_foreign_code():
        return open_clip.get_tokenizer(model)


def load_folder(folder: Path) -> LoadedModel:
    """Load a folder that `amorlip export` wrote, or any other folder in the format of OpenCLIP's `push_to_hf_hub`.

    Pickled weights are not read. Raises AmorlipError when a file is missing, is damaged or does not fit.
    """
    weights = folder / HF_SAFE_WEIGHTS_NAME
    for path in (folder / HF_CONFIG_NAME, weights):
        if not path.is_file():
            raise AmorlipError(f"{path} is missing; give a folder that `amorlip export` wrote")
    name = f"local-dir:{folder}"
    with (
        _unchanged(weights) as sha256,
        _one_line_errors(f"{folder}: not an exported model"),
        _silent(),
        _no_foreign_code(),
    ):
        network = open_clip.create_model(name)
        tokenize = open_clip.get_tokenizer(name)
    return LoadedModel(network.eval(), eval_transform(network), tokenize, weights, sha256)


@contextmanager
def _one_line_errors(words: str) -> Iterator[None]:
    """Turn any exception into an AmorlipError: torch, safetensors, OpenCLIP and its hub each raise their own.

    A lack of memory is not caught, since it has nothing to do with the files.
    """
    try:
        yield
    except Exception as error:
        if lacks_memory(error):
            raise
        raise AmorlipError(f"{words} ({one_line(error)})") from error


@contextmanager
def _no_foreign_code() -> Iterator[None]:
    """Neither run the code that comes with a tokenizer or a text tower, nor ask on the terminal whether it may run.

    The configuration of an exported folder can set any option of its tokenizer, `trust_remote_code` too.
    """
    from transformers import dynamic_module_utils

    original = factory.HFTokenizer

    def tokenizer(*arguments: Any, **options: Any) -> Any:
        return original(*arguments, **{**options, "trust_remote_code": False})

    with (
        mock.patch.object(factory, "HFTokenizer", tokenizer),
        mock.patch.object(dynamic_module_utils, "TIME_OUT_REMOTE_CODE", 0),  # else a question that waits so long
    ):
        yield


@contextmanager
def _silent() -> Iterator[None]:
    """Hide OpenCLIP's warning that a new model has random weights; issuing it would also configure the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
