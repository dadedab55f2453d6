"""ApiVersions (18), versions 0-4.

KIP-35, KIP-482 (flexible body, header always v0), KIP-511 (client software names; an unknown version is answered in
version 0 with UNSUPPORTED_VERSION and the versions of ApiVersions alone, and the connection stays), KIP-584 (features).
Not done: no finalized features are advertised, because transaction.version and the rest are not there yet.
"""

import re

from kafka.protocol.api_message import ApiMessage
from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse

from kafscale.broker.request import RequestContext
from kafscale.broker.router import Route, Router
from kafscale.protocol.api import ApiKey
from kafscale.protocol.codec import encode_response
from kafscale.protocol.error_codes import ErrorCode

_SOFTWARE_NAME_FROM = 3
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")


def api_versions_reply(router: Router, context: RequestContext, request: ApiMessage) -> ApiVersionsResponse:
    """Answer with the table of routes."""
    valid = context.api_version < _SOFTWARE_NAME_FROM or _names_are_valid(request)
    error = ErrorCode.NONE if valid else ErrorCode.INVALID_REQUEST
    return _response(router.routes if valid else [], context.api_version, error)


def unsupported_version_reply(router: Router) -> bytearray:
    """Return the version 0 body for an ApiVersions request of a version this broker does not know."""
    itself = [route for route in router.routes if route.key is ApiKey.API_VERSIONS]
    return encode_response(_response(itself, 0, ErrorCode.UNSUPPORTED_VERSION), 0)


def _names_are_valid(request: ApiMessage) -> bool:
    if not isinstance(request, ApiVersionsRequest):
        return False
    names = (request.client_software_name, request.client_software_version)
    return all(_SOFTWARE.fullmatch(name or "") is not None for name in names)


def _response(routes: list[Route], version: int, error: ErrorCode) -> ApiVersionsResponse:
    entry = ApiVersionsResponse.ApiVersion
    keys = [entry(version=version, api_key=int(key), min_version=low, max_version=high) for key, low, high, _ in routes]
    return ApiVersionsResponse(version=version, error_code=int(error), api_keys=keys, throttle_time_ms=0)
