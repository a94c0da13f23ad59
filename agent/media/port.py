"""The media port: what the rest of the agent may ask of this room, and the values it gets back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.media.exif import ExifFacts
from agent.media.facts import MediaFacts
from agent.media.plan import RenditionKind, RenditionPlan
from agent.media.progress import OnProgress

OriginalFacts = MediaFacts | ExifFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a rendition was made, so that anybody can repeat it: from ``/in/original…`` to ``/out``."""

    tool: str
    version: str
    arguments: tuple[str, ...]

    def to_json(self) -> Mapping[str, str | list[str]]:
        """As it stands in a signed rendition statement."""
        return {"tool": self.tool, "version": self.version, "arguments": list(self.arguments)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedFile:
    """One finished rendition (派生文件): durable, read-only, named by its SHA-256."""

    kind: RenditionKind
    path: Path
    media_type: str
    size_bytes: int
    sha256: str
    recipe: Recipe


class Renderer(Protocol):
    """Facts about originals and renditions of them. Originals are only read."""

    async def facts(self, original: Path, media_type: str) -> OriginalFacts:
        """What a photograph (``image/…``) or recording says about itself. Raises a MediaError."""
        ...

    async def render(
        self,
        plan: RenditionPlan,
        original: Path,
        output_folder: Path,
        on_progress: OnProgress | None = None,
    ) -> RenderedFile:
        """Make one rendition in an existing folder. The file is durable when this returns. Raises a MediaError."""
        ...
