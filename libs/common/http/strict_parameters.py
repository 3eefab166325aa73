"""Query parameters that a route does not know are refused: `?limt=5` would otherwise be answered as if all was asked for."""

from difflib import get_close_matches

from fastapi import Request

from libs.common.errors import Invalid


async def refuse_unknown(request: Request) -> None:
    """A dependency of every route. Raises Invalid that names each parameter which the route's description does not have.

    Only for who comes with a token: without one, that is what is said first; and apps' SDKs may add what they like.
    """
    given = request.query_params.keys()
    if not given or "authorization" not in request.headers:
        return
    paths = request.app.openapi()["paths"]
    operation = paths.get(request.scope["route"].path, {}).get(request.method.lower())
    if operation is None or not request.url.path.startswith("/v1/"):
        return
    known = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    unknown = [name for name in given if name not in known]
    if unknown:
        errors = [{"at": f"query.{name[:100]}", "message": _said(name, known)} for name in unknown]
        raise Invalid("; ".join(f"{each['at']}: {each['message']}" for each in errors[:3]), errors=errors)


def _said(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, 1)
    meant = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}" if known else ""
    return f"no parameter of this name is known here{meant}"
