"""The generator that a configuration selects: that of a model folder, or a class of the user's own.

The selection is a small record that is sent to workers, each of which loads the generator.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.stores.opening import open_store
from driveforge.datasets.stores.remote import RemoteStore
from driveforge.finetune.world_model.families.registry import TEXT_STORE, Dtype, embed_captions, read_limits
from driveforge.finetune.world_model.limits import require_encodable
from driveforge.finetune.world_model.rollout import require_chunks
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.generate.edits import parse_edit
from driveforge.pipelines.generate.generator import Generator, load_generator
from driveforge.pipelines.generate.own_generator import check_digest, import_generator_class, load_own_generator
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.registry.models import CHAMPION_OR_BASE, resolve_checkpoint, resolve_model
from driveforge.pipelines.registry.versions import CHAMPION


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedGenerator:
    """A model ``folder``; or ``class_name``, imported from ``directory``, with the ``folder`` that it is called with.

    ``class_name`` is "" for the generator of the folder's family, which is loaded with weights as ``dtype`` and keeps
    embeddings of captions in ``text_store``. ``url`` is that of the folder in an object store, for workers on machines
    without it; "" if there is none.
    """

    folder: Path | None
    dtype: Dtype = "float32"
    text_store: Path | None = None
    class_name: str = ""
    directory: str = ""
    url: str = ""


def select_generator(config: Config) -> SelectedGenerator:
    """The generator of ``config``; raises UserError if its model is missing or its class cannot be imported."""
    name = config.model.generator
    if name is None:
        text_store = config.run.latents / TEXT_STORE
        folder = resolve_model(config)
        store = open_store(folder)
        url = store.describe() if store.is_remote else ""
        return SelectedGenerator(folder=folder, dtype=config.model.dtype, text_store=text_store, url=url)
    directory = str(Path.cwd())
    import_generator_class(name, directory)
    return SelectedGenerator(folder=_own_checkpoint(config), class_name=name, directory=directory)


def _own_checkpoint(config: Config) -> Path | None:
    """The path of ``model.checkpoint`` for a class of the user's own; None if it is left at its default."""
    checkpoint = config.model.checkpoint
    if checkpoint == "base":
        return None
    if checkpoint in (CHAMPION, CHAMPION_OR_BASE):
        return resolve_checkpoint(config)
    if not Path(checkpoint).exists():
        raise UserError(f"model.checkpoint={checkpoint} does not exist; correct the path, or unset it")
    return Path(checkpoint)


def load_selected(selected: SelectedGenerator) -> Generator:
    """Load the generator, on a GPU if torch finds one."""
    import torch

    if not selected.class_name:
        assert selected.folder is not None
        folder = selected.folder
        if selected.url and not folder.is_dir():
            folder = RemoteStore(selected.url).fetch_all()
        return load_generator(folder, selected.dtype, selected.text_store)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_own_generator(selected.class_name, selected.directory, selected.folder, device)


def generator_digest(selected: SelectedGenerator) -> str:
    """The digest of the generator, without its weights in this process.

    If a class has no ``digest`` of its own, one is loaded in a process that ends.
    """
    from driveforge.finetune.world_model.model import compute_model_digest

    if not selected.class_name:
        assert selected.folder is not None
        return compute_model_digest(selected.folder)
    digest = getattr(import_generator_class(selected.class_name, selected.directory), "digest", None)
    if isinstance(digest, str):
        return check_digest(digest, selected.class_name)
    (digest,) = parallel_map(_load_digest, [selected])
    return digest


def _load_digest(selected: SelectedGenerator) -> str:
    return load_selected(selected).digest


class NoCodec:
    """Stands for the codec of a class without ``reconstruct``: leaves every clip as it is."""

    def reconstruct(self, clip: Clip) -> Clip:
        return clip


def load_codec(selected: SelectedGenerator) -> Generator | NoCodec:
    """What encodes and decodes clips for calibration; of a class without ``reconstruct``, no weights are loaded."""
    return load_selected(selected) if _has_codec(selected) else NoCodec()


def describe_codec(selected: SelectedGenerator) -> str:
    """What a clip passes through in calibration before video compression, for its name; "" for nothing."""
    from driveforge.finetune.world_model.model import compute_model_digest

    if not _has_codec(selected):
        return ""
    if selected.class_name:
        return f"the model {generator_digest(selected)}"
    assert selected.folder is not None
    vae = selected.folder / "vae"
    return f"the VAE {compute_model_digest(vae)[:8]}" if vae.is_dir() else f"the model {generator_digest(selected)[:8]}"


def _has_codec(selected: SelectedGenerator) -> bool:
    if not selected.class_name:
        return True
    return hasattr(import_generator_class(selected.class_name, selected.directory), "reconstruct")


def require_generable(selected: SelectedGenerator, scenes: Iterable[Scene], settings: GenerateSettings) -> None:
    """Raise UserError if the model cannot generate a clip of the size of a scene, or continue so many frames.

    Only our own families say what they take.
    """
    given = settings.num_first_frames
    moving = [text for text in settings.edits if text != "as-recorded" and parse_edit(text).keeps_first_frame]
    if given > 1 and moving:
        raise UserError(
            f"generate.num_first_frames={given}: recorded frames do not move as the edits {', '.join(moving)} command; "
            "set it to 1, or generate.edits=[as-recorded]"
        )
    if selected.class_name:
        return
    assert selected.folder is not None
    limits = read_limits(selected.folder)
    for sampler in (settings.sampler, settings.sampler_without_frame):
        require_chunks(sampler, given, limits)
    require_encodable(scenes, limits.in_chunks)
    if given > 0 and (given - 1) % limits.temporal_stride:
        raise UserError(
            f"generate.num_first_frames={given} ends within a latent frame: the model takes 0 or "
            f"1 + {limits.temporal_stride}k frames"
        )


def prepare_captions(selected: SelectedGenerator, captions: Iterable[str]) -> None:
    """Store the embeddings of ``captions``, so that no worker loads the text encoder."""
    if not selected.class_name:
        assert selected.folder is not None and selected.text_store is not None
        embed_captions(selected.folder, captions, selected.dtype, selected.text_store)
