# Written by typings/generate.py
from .api_versions import ApiVersionsRequest as ApiVersionsRequest
from .api_versions import ApiVersionsResponse as ApiVersionsResponse
from .find_coordinator import FindCoordinatorRequest as FindCoordinatorRequest
from .find_coordinator import FindCoordinatorResponse as FindCoordinatorResponse
from .metadata import MetadataRequest as MetadataRequest
from .metadata import MetadataResponse as MetadataResponse
