"""What encoder to train, by what objective, from which patch tasks: YAML in, one value out, or all its faults at once.

A document with the key `encoder` is such a recipe. Its licence decides which sources may stand behind its tasks; only
`experiment` takes those that are there to evaluate on, and its encoder says so wherever it goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from geryon import plugins
from geryon.train.augment_settings import STRICT, AugmentSettings
from geryon.train.encoders.objectives import OBJECTIVES, SUPERVISED, UNTAUGHT
from geryon.train.encoders.patches import PATCH_TASKS, PatchTask, get_patch_task, source_of
from geryon.train.faults import nearest, refuse
from geryon.train.presets import fill_preset
from geryon.train.recipe import fill_held_out, read_yaml, tried
from geryon.train.settings import LoopSettings, SettingsError
from geryon.train.source import ALLOWED
from geryon.train.splits import Split

KEY = "encoder"
BODIES = ("nic-64", "nic-128", "lite0", "lite0-128", "geryon-s", "mean-rgb")
"""Also timm:NAME."""
SCHEDULES = COSINE, PLATEAU = "cosine", "plateau"
NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderChoice:
    """The network, and what it is to learn."""

    __pydantic_config__ = STRICT

    body: str = "nic-64"
    """nic-64, nic-128 (the papers'), lite0, lite0-128 (EfficientNet-Lite0 over means of 2 x 2 pixels, or over all),
    geryon-s (that model's encoder), timm:NAME, mean-rgb (nothing to learn)."""
    start: str = ""
    """Where its weights come from at first: "" (random; of geryon-s that model's), "imagenet" (lite0), a file of an
    encoder with the same body, of geryon-s a model, of timm:NAME a folder or owner/name on the Hugging Face hub."""
    code: int = 128
    """Numbers in a code; 3 for mean-rgb."""
    objective: str = "supervised"
    """supervised, vae, contrastive, bigan, lejepa; none for mean-rgb."""
    width: float = 1.0
    """Channels of what is trained beside the body (decoder, generator, discriminator) over those of the papers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSettings:
    """Length, pace and food of an encoder's training."""

    __pydantic_config__ = STRICT

    steps: int = 2000
    """Steps of a whole run."""
    minutes: float = 0.0
    """Wall-clock limit, resumed runs counted together; the schedule ends with whichever comes first. 0: none."""
    batch: int = 64
    """Patches a step."""
    lr: float = 2e-3
    """Highest learning rate (AdamW): up linearly, then down by the schedule."""
    schedule: str = "cosine"
    """"cosine" (down to lr_floor at the end) or "plateau" (cut whenever validation stops improving)."""
    factor: float = 0.1
    """Of a plateau: what is left of the rate after `patience` validations without a better mean balanced accuracy."""
    patience: int = 5
    """Of a plateau: validations without a better one before each cut."""
    lr_floor: float = 0.01
    """Part of the highest rate that is left at the end, or at least; 1 keeps it as it is."""
    warmup: float = 0.05
    """Part of the run in which the rate rises."""
    weight_decay: float = 0.02
    """Decoupled decay of kernels; norms and biases have none."""
    clip: float = 5.0
    """Largest norm of the whole gradient; 0: as it is."""
    ema: float = 0.99
    """Decay of the averaged weights, which are what is validated and kept; 0: no averaging."""
    task_weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of each task's loss; 1 where left out."""
    equal_tasks: bool = True
    """Each task has the same part of every batch; else each patch is as likely."""
    equal_classes: bool = True
    """Each class has the same part of its task's patches. Objectives without labels never look at classes."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """Colours, sharpness, noise, deformation, beside turns and mirroring."""
    validate_steps: int = 0
    """A validation and a checkpoint so often; 0: at the end alone."""
    best: bool = False
    """Keep the weights whose mean balanced accuracy over the tasks was best, not the last; needs validate_steps."""
    validate_on: int = 600
    """Patches of each task that a validation looks at, at most."""
    keep_minutes: float = 5.0
    """A checkpoint at least this often, too."""
    log_steps: int = 20
    """A row of the log every so many steps."""
    threads: int = -1
    """Threads that prepare batches; 0: none; -1: one a core, at most 16."""
    ahead: int = 6
    """Batches kept ready."""
    device: str = "auto"
    """"cpu", "cuda" or "auto"."""
    precision: str = "auto"
    """"float32", "bfloat16" or "auto": bfloat16 on CUDA and on processors with AMX."""
    seed: int = 0
    """Of first weights, draws and colours."""

    def __post_init__(self) -> None:
        checks = (
            (self.batch < 8, f"batch is {self.batch}, must be at least 8"),
            (self.best and not self.validate_steps, "best needs validate_steps"),
            (self.schedule not in SCHEDULES, f"schedule {self.schedule!r} is unknown ({', '.join(SCHEDULES)})"),
            (self.schedule == PLATEAU and not self.validate_steps, "schedule: plateau needs validate_steps"),
            (not 0 < self.factor < 1, f"factor is {self.factor}, must be between 0 and 1"),
            (not 0 <= self.lr_floor <= 1, f"lr_floor is {self.lr_floor}, must be in 0..1"),
            (self.patience < 1, f"patience is {self.patience}, must be at least 1"),
            (self.validate_on < 8, f"validate_on is {self.validate_on}, must be at least 8"),
            (any(w < 0 for w in self.task_weights.values()), "task_weights must not be negative"),
        )
        faults = [text for bad, text in checks if bad]
        if faults:
            raise SettingsError(what="; ".join(faults), where="train", mend="change them in the recipe")
        self.loop()  # its checks are those of any training

    def loop(self) -> LoopSettings:
        """What the parts shared with the training of models are told."""
        same = ("steps", "minutes", "batch", "lr", "lr_floor", "warmup", "weight_decay", "clip", "ema", "augment")
        more = ("keep_minutes", "log_steps", "threads", "ahead", "device", "precision", "seed")
        told = {name: getattr(self, name) for name in (*same, *more)}
        return LoopSettings(epoch_steps=self.validate_steps, **told)

    def deciding(self) -> dict[str, Any]:
        """All but those of a schedule that is not taken: they change nothing."""
        told = asdict(self)
        of_plateau = ("schedule", "factor", "patience") if self.schedule == COSINE else ()
        return {name: value for name, value in told.items() if name not in of_plateau}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderRecipe:
    """A whole training of an encoder, from labelled sources to its file."""

    __pydantic_config__ = STRICT

    name: str
    """Of the encoder and its files: letters, digits, dots, hyphens."""
    version: str = "0"
    licence: Literal["open", "research", "experiment"]
    """open: sources of free use only; research: also such as allow research alone; experiment: also such as are there
    to evaluate on. What that leaves is for comparisons and is never shipped."""
    encoder: EncoderChoice = field(default_factory=EncoderChoice)
    tasks: tuple[str, ...]
    """Patch tasks: in train.encoders.patches.PATCH_TASKS or an entry point of geryon.patch_tasks."""
    mpp: float = 0.5
    """µm per pixel of the patches."""
    patch_px: int = 128
    """Side of a patch: 64 µm at 0.5 µm per pixel."""
    split: Split = field(default_factory=Split)
    """By group of each source; folds and held-out lists as in any recipe."""
    train: EncoderSettings = field(default_factory=EncoderSettings)

    @property
    def patch_um(self) -> float:
        """Side of a patch."""
        return self.patch_px * self.mpp

    def task_values(self) -> tuple[PatchTask, ...]:
        """The tasks themselves, in the recipe's order."""
        return tuple(get_patch_task(name) for name in self.tasks)


def read_encoder_recipe(path: Path) -> EncoderRecipe:
    """The recipe in that YAML file; one UsageError lists all its faults, each with its place."""
    return parse_encoder_recipe(read_yaml(path), folder=path.parent, where=str(path))


def parse_encoder_recipe(raw: Any, *, folder: Path, where: str) -> EncoderRecipe:
    """The recipe that a document describes; files that it names lie below `folder`."""
    faults = [*fill_held_out(raw, folder, sources_of(raw)), *fill_preset(raw)]
    recipe, wrong = tried(EncoderRecipe, raw)
    faults += wrong + _named(raw) + ([*_of_batch(recipe), *_of_validation(recipe)] if recipe else [])
    if recipe is None or faults:
        raise refuse(faults, where=where, is_input=False)
    return recipe


def sources_of(raw: Any) -> list[str]:
    """The sources of a document's tasks, as far as those are known."""
    return [task.source for task in _tasks(raw).values()]


def _tasks(raw: Any) -> dict[str, PatchTask]:
    given = raw.get("tasks") if isinstance(raw, dict) else None
    known = plugins.names(PATCH_TASKS, "geryon.patch_tasks")
    return {name: get_patch_task(name) for name in given if name in known} if isinstance(given, list) else {}


def _named(raw: Any) -> list[str]:
    """Faults of the names in a document that may have any others."""
    if not isinstance(raw, dict):
        return []
    known, given = plugins.names(PATCH_TASKS, "geryon.patch_tasks"), raw.get("tasks")
    tasks = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    lines = [f"tasks: there is no patch task {name!r}{_near(name, known)}" for name in tasks if name not in known]
    lines += [f"tasks: {name} stands twice" for name in sorted({n for n in tasks if tasks.count(n) > 1})]
    lines += ["tasks: names no task"] if given == [] else []
    allowed = ALLOWED.get(str(raw.get("licence")), ())
    for name, task in _tasks(raw).items():
        use = source_of(task).use
        if allowed and use not in allowed:
            needs = next(licence for licence, uses in ALLOWED.items() if use in uses)
            lines.append(f"tasks: {name} is of {task.source}, whose use is {use!r}; that needs licence: {needs}")
    return lines + _of_encoder(raw.get(KEY)) + _of_name(raw) + _of_weights(raw, tasks) + _of_split(raw)


def _of_name(raw: dict[str, Any]) -> list[str]:
    name = raw.get("name")
    return [f"name: {name!r} is no name of a file"] if isinstance(name, str) and not NAME.fullmatch(name) else []


def _of_encoder(raw: Any) -> list[str]:
    if not isinstance(raw, dict):
        return []
    body, objective = raw.get("body", "nic-64"), raw.get("objective", "supervised")
    lines = []
    if isinstance(body, str) and body not in BODIES and not body.startswith("timm:"):
        lines.append(f"encoder.body: there is no body {body!r}{_near(body, BODIES)}")
    known = [*plugins.names(OBJECTIVES, "geryon.encoder_objectives"), UNTAUGHT]
    if isinstance(objective, str) and objective not in known:
        lines.append(f"encoder.objective: there is no objective {objective!r}{_near(objective, known)}")
    if (body == "mean-rgb") != (objective == UNTAUGHT):
        lines.append("encoder: objective none goes with the body mean-rgb, and with no other")
    if body == "mean-rgb" and raw.get("code", 128) != 3:
        lines.append("encoder.code: mean-rgb has a code of 3")
    code, width = raw.get("code", 128), raw.get("width", 1)
    lines += [f"encoder.code: is {code}, must be 1 to 4096"] if type(code) is int and not 1 <= code <= 4096 else []
    if type(width) in (int, float) and not 0.05 <= width <= 4:
        lines.append(f"encoder.width: is {width}, must be 0.05 to 4")
    return lines


def _of_weights(raw: dict[str, Any], tasks: list[str]) -> list[str]:
    train = raw.get("train")
    given = train.get("task_weights") if isinstance(train, dict) else None
    named = given if isinstance(given, dict) else {}
    return [f"train.task_weights.{name}: is none of the recipe's tasks" for name in named if name not in tasks]


def _of_batch(recipe: EncoderRecipe) -> list[str]:
    batch, least = recipe.train.batch, 2 * len(recipe.tasks)
    if recipe.encoder.objective != SUPERVISED or batch >= least:
        return []
    return [f"train.batch: is {batch}, must be at least {least}: a step needs two patches of each task"]


def _of_validation(recipe: EncoderRecipe) -> list[str]:
    """What asks for figures of a validation where there are none."""
    settings, objective = recipe.train, recipe.encoder.objective
    asked = {"train.schedule: plateau": settings.schedule == PLATEAU, "train.best": settings.best}
    mine = {task.source for task in recipe.task_values()}
    if objective != SUPERVISED:
        why = f"a validation of classes, and the objective {objective} learns none"
    elif not recipe.split.validates or mine <= set(recipe.split.train_only):
        why = "a validation, and the split leaves nothing to it (split.validation, split.train_only)"
    else:
        return []
    return [f"{name} needs {why}" for name, is_asked in asked.items() if is_asked]


def _of_split(raw: dict[str, Any]) -> list[str]:
    split = raw.get("split")
    held_out = split.get("held_out") if isinstance(split, dict) else None
    mine = sources_of(raw)
    named = held_out if isinstance(held_out, dict) else {}
    return [
        f"split.held_out.{name}: no task is of that source{nearest(str(name), mine)}"
        for name in named
        if name not in mine
    ]


def _near(name: str, known: Any) -> str:
    return f" (there are: {', '.join(known)}){nearest(name, known)}"
