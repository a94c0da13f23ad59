"""A renderer without ffmpeg, for tests of everything around this room: the port's twin, with real files as output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agent.errors import MediaUnreadableError
from agent.media.plan import RenditionPlan
from agent.media.port import OriginalFacts, Recipe, RenderedFile
from agent.media.progress import OnProgress
from agent.media.publish import publish, work_folder


class MemoryRenderer:
    """Knows the facts it was told, by the original's bytes; a rendition is a few bytes that name plan and original."""

    def __init__(self, facts_by_content: Mapping[bytes, OriginalFacts]) -> None:
        self._facts_by_content = dict(facts_by_content)

    async def facts(self, original: Path, media_type: str) -> OriginalFacts:
        """See ``Renderer.facts``; every original it was not told of is unreadable."""
        facts = self._facts_by_content.get(_content(original))
        if facts is None:
            raise MediaUnreadableError(f"no {media_type} facts are known for these bytes")
        return facts

    async def render(
        self,
        plan: RenditionPlan,
        original: Path,
        output_folder: Path,
        on_progress: OnProgress | None = None,
    ) -> RenderedFile:
        """See ``Renderer.render``."""
        content = _content(original)
        with work_folder(output_folder) as folder:
            made = folder / (plan.kind + plan.suffix)
            made.write_bytes(f"{plan.kind} by {plan.method} of ".encode() + content[:64])
            published = publish(made, output_folder)
        if on_progress is not None:
            on_progress(1.0)
        return RenderedFile(
            kind=plan.kind,
            path=published.path,
            media_type=plan.media_type,
            size_bytes=published.size_bytes,
            sha256=published.sha256,
            recipe=Recipe(tool="memory", version="1", arguments=(plan.method,)),
        )


def _content(original: Path) -> bytes:
    try:
        return original.read_bytes()
    except OSError as error:
        raise MediaUnreadableError(f"the original cannot be read: {error.strerror}") from error
