"""`GET /metrics` for Prometheus."""

from fastapi import APIRouter, Request, Response

from app.metrics import OPENMETRICS, Metrics

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    summary="Metrics of the service",
    response_class=Response,
    responses={200: {"content": {kind: {"schema": {"type": "string"}} for kind in ("text/plain", OPENMETRICS)}}},
)
async def metrics(request: Request) -> Response:
    """In Prometheus' text format, or in OpenMetrics if `Accept` asks for it."""
    counted: Metrics = request.app.state.metrics
    body, content_type = counted.exposition(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})
