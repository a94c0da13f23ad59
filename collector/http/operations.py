"""What the operator's tools ask: is it alive, and how is it doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

HealthProbe = Callable[[], Mapping[str, bool]]
"""Named parts and whether each works now."""


class OperationsHandlers:
    """``/healthz`` is 200 while evidence can be taken in; a missing broker alone does not prevent that."""

    def __init__(self, *, registry: CollectorRegistry, probe: HealthProbe, vital: frozenset[str]) -> None:
        self._registry = registry
        self._probe = probe
        self._vital = vital

    async def health(self, _request: web.Request) -> web.Response:
        parts = dict(self._probe())
        healthy = all(works for name, works in parts.items() if name in self._vital)
        return web.json_response(
            {"status": "ok" if healthy else "failing", "parts": parts}, status=200 if healthy else 503
        )

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )


def add_operations_routes(app: web.Application, handlers: OperationsHandlers) -> None:
    app.router.add_get("/healthz", handlers.health)
    app.router.add_get("/metrics", handlers.metrics)
