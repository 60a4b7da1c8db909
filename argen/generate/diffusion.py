"""Any image-to-video pipeline of diffusers as a generator: the caption and the source frame in, clips out."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import Image

from argen.config import GenerateSettings
from argen.device import fitting, out_of_memory, torch_device
from argen.errors import ArgenError, EnvironmentFault, JobError
from argen.generate.adapter import load_adapter
from argen.generate.calling import Form, Item, Sharing, read_form, read_sharing
from argen.generate.checkpoint import Statement, inspect_folder, load_pipeline, locate
from argen.generate.guidance import check_guided, guidance_along, latent_intensity, neighbours
from argen.generate.layout import Layout, read_layout
from argen.generate.placing import place
from argen.generate.probe import Pipeline, call
from argen.generate.request import Request

log = logging.getLogger(__name__)


@dataclass
class DiffusionGenerator:
    """A loaded pipeline; request i gives clip i whatever the batch.

    A clip has the frames and the size of the settings. Where the model can't make that many frames, it makes
    the next number it can and the rest is cut off; where it can't make that size, it makes the next larger
    one and the clip is scaled down.
    """

    pipe: Pipeline
    form: Form
    settings: GenerateSettings
    statement: Statement
    provenance: Mapping[str, str]
    batch: int
    layout: Layout | None = None
    name: str = "diffusion"
    _sharing: Sharing | None = field(default=None, repr=False)
    _noise_on: str = field(default="cpu", repr=False)  # where all devices draw the same noise

    @classmethod
    def load(cls, settings: GenerateSettings, device: str) -> DiffusionGenerator:
        """From a folder or the hub. Everything that can be wrong with model and settings is said here.

        Raises ModelUnavailable, RecipeError, UsageError or EnvironmentFault.
        """
        target = torch_device(device)
        folder, revision = locate(settings.model, settings.revision, settings.pipeline)
        pipeline, statement = inspect_folder(folder, settings.pipeline)
        pipe = load_pipeline(folder, pipeline, _dtype(settings.dtype, target))
        if settings.adapter:
            adapter = load_adapter(pipe, settings.adapter)
        if hasattr(pipe, "guider"):  # these pipelines keep guidance in a component, not in the call
            pipe.guider = pipe.guider.new(guidance_scale=settings.guidance)
        remedy = "set generate.offload=model or sequential, or choose a smaller one"
        with fitting(f"generate.model: {settings.model}", remedy):
            _place_weights(pipe, settings.offload, target)
            form = read_form(pipe, settings, statement)
        if "prompt" not in form.parameters:
            log.warning("%s takes no prompt: its clips ignore the caption", pipeline.__name__)
        provenance = {
            "model": str(settings.model),
            "revision": revision,
            "pipeline": pipeline.__name__,
            "adapter": f"sha256:{adapter}" if settings.adapter else "",
            "steps": str(settings.steps),
            "guidance": str(settings.guidance),
            "dtype": str(pipe.dtype).removeprefix("torch."),
        }
        guided = settings.guidance_follows_intensity or settings.neighbour_weight > 0
        layout = read_layout(pipe, form) if guided else None
        if layout and settings.guidance_follows_intensity:
            check_guided(layout, settings.guidance)
        return cls(pipe, form, settings, statement, provenance, settings.batch, layout)

    @property
    def domain(self) -> str | None:
        """The only kind of pictures that the checkpoint was trained on, where it says so."""
        return self.statement.domain

    def __call__(self, requests: Sequence[Request]) -> list[UInt8[ndarray, "T H W 3"]]:
        """One clip a request, in order. Out of memory halves the batch and goes on.

        Raises EnvironmentFault if not even one clip fits, JobError if the pipeline fails on one.
        """
        items = [self.item(request) for request in requests]
        clips: dict[int, UInt8[ndarray, "T H W 3"]] = {}
        for group in self._groups(items):
            made = self._make([items[i] for i in group], [requests[i].affect.trajectory for i in group])
            clips.update(zip(group, made, strict=True))
        return [clips[index] for index in range(len(requests))]

    def takes_whole(self, frame: UInt8[ndarray, "H W 3"]) -> bool:
        """Whether the frame has the pipeline's size already."""
        return frame.shape[:2] == (self.form.size, self.form.size)

    def item(self, request: Request) -> Item:
        """A request as the pipeline is asked for it: the face placed and cut, the caption, the seed."""
        size = self.form.size
        if self.takes_whole(request.frame):
            frame = request.frame
        elif np.isfinite(request.landmarks).all():
            frame = place(request.frame, request.landmarks, size).frame
        else:
            frame = _centre_square(request.frame, size)
        return Item(Image.fromarray(frame), request.affect.caption, request.seed)

    def _groups(self, items: Sequence[Item]) -> Iterator[list[int]]:
        """Indices of what may go into one call."""
        if self._sharing is None and len(items) > 1 and self.batch > 1:
            self._sharing = "nothing" if self._chunks_frames() else read_sharing(self.pipe, self.form)
        indices: Iterable[list[int]] = [list(range(len(items)))]
        if self._sharing == "picture":
            by_picture: dict[bytes, list[int]] = {}
            for index, item in enumerate(items):
                by_picture.setdefault(item.picture.tobytes(), []).append(index)
            indices = by_picture.values()
        for alike in indices:
            width = 1 if self._sharing == "nothing" else self.batch
            yield from (alike[start : start + width] for start in range(0, len(alike), width))

    def _chunks_frames(self) -> bool:
        # Such chunks run across the clips of a batch, and a temporal decoder would mix them.
        return self.settings.extra.get("decode_chunk_size") is not None

    def _make(
        self, items: Sequence[Item], trajectories: Sequence[Float32[ndarray, "T 20"]]
    ) -> list[UInt8[ndarray, "T H W 3"]]:
        try:
            return self._run(items, trajectories)
        except ArgenError:
            raise
        except Exception as error:
            log.debug("%s failed", type(self.pipe).__name__, exc_info=error)
            problem = error.with_traceback(None)  # which would keep the tensors alive
        line = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        half = max(1, len(items) // 2)
        if out_of_memory(problem):
            _release()
            if len(items) == 1:
                raise EnvironmentFault(self._too_big()) from problem
            self.batch = half
            log.warning("out of memory with %d clips in a call; going on with %d", len(items), half)
        elif _wants_its_own_noise(line) and self._noise_on == "cpu":
            self._noise_on = str(self.pipe._execution_device)
            return self._make(items, trajectories)
        elif len(items) == 1:
            raise JobError(f"{type(self.pipe).__name__}: {line}") from problem
        else:
            self._sharing, half = "nothing", 1
            log.warning(
                "%s cannot take several clips: %s; going on one by one", type(self.pipe).__name__, line
            )
        starts = range(0, len(items), half)
        parts = [self._make(items[s : s + half], trajectories[s : s + half]) for s in starts]
        return [clip for part in parts for clip in part]

    def _run(
        self, items: Sequence[Item], trajectories: Sequence[Float32[ndarray, "T 20"]]
    ) -> list[UInt8[ndarray, "T H W 3"]]:
        arguments = self.form.arguments(items, self._sharing or "all", self._noise_on)
        frames = (self.form.frames - 1) // self.form.ratio + 1
        with ExitStack() as stack:
            if self.layout and self.settings.guidance_follows_intensity:
                scale = self.settings.guidance
                arguments |= self.form.guided(scale)
                stack.enter_context(self.following(trajectories, scale))
            if self.layout and self.settings.neighbour_weight:
                weight = self.settings.neighbour_weight
                stack.enter_context(neighbours(self.pipe, self.layout, frames, weight))
            output = call(self.pipe, arguments)
        return [self._finished(clip) for clip in np.asarray(output.frames)]

    def following(
        self, trajectories: Sequence[Float32[ndarray, "T 20"]], scale: float
    ) -> AbstractContextManager[None]:
        """Within: guidance of `scale` follows the intensity of these targets, one a clip of the call.

        Raises UsageError, at once or on entering, for a pipeline or a scale that can't be varied by frame.
        """
        self.layout = self.layout or read_layout(self.pipe, self.form)
        curves = [latent_intensity(t, self.form.frames, self.form.ratio) for t in trajectories]
        return guidance_along(self.pipe, self.layout, torch.from_numpy(np.stack(curves)), scale)

    def _finished(self, clip: Float32[ndarray, "t h w 3"]) -> UInt8[ndarray, "T H W 3"]:
        if not np.isfinite(clip).all():
            raise JobError(
                f"{type(self.pipe).__name__} made frames that are not numbers; "
                "set generate.dtype=bfloat16 or float32"
            )
        if len(clip) < self.settings.frames:
            raise JobError(
                f"{type(self.pipe).__name__} made {len(clip)} frames of {self.form.frames} asked for; "
                f"set generate.frames={len(clip)}"
            )
        frames = (clip[: self.settings.frames].clip(0, 1) * 255).round().astype(np.uint8)
        size = self.settings.size
        if frames.shape[1:3] != (size, size):
            frames = np.stack([_resize(frame, size) for frame in frames])
        return frames

    def _too_big(self) -> str:
        size, frames = self.form.size, self.form.frames
        hint = {"none": "model", "model": "sequential"}.get(self.settings.offload)
        offload = f", or set generate.offload={hint}" if hint else ""
        return (
            f"out of memory for one clip of {frames} frames at {size}x{size} on "
            f"{self.pipe._execution_device}; lower generate.frames or generate.size{offload}"
        )


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        return getattr(torch, name)  # type: ignore[no-any-return]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _place_weights(pipe: Pipeline, offload: str, device: torch.device) -> None:
    if offload == "none":
        pipe.to(device)
        return
    if device.type == "cpu":
        raise EnvironmentFault(f"generate.offload: {offload} needs a GPU to offload from; set it to none")
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)


def _wants_its_own_noise(message: str) -> bool:
    # A few pipelines draw some noise on the GPU outright, which a generator of the CPU can't do.
    return "device type for generator" in message


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _centre_square(frame: UInt8[ndarray, "H W 3"], size: int) -> UInt8[ndarray, "S S 3"]:
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return _resize(frame[top : top + side, left : left + side], size)


def _resize(frame: UInt8[ndarray, "H W 3"], size: int) -> UInt8[ndarray, "S S 3"]:
    shrinks = frame.shape[0] > size
    resized: Any = cv2.resize(
        frame, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    return np.ascontiguousarray(resized)
