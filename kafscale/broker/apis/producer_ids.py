"""InitProducerId (22), versions 0-5.

KIP-98 (idempotent producers), KIP-360 (a producer may name its id and epoch; without a transactional id Kafka hands
out a new id all the same). Not done: transactions. Until they exist a transactional id is refused with
TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which every client reports at once instead of retrying.
"""

from kafka.protocol.producer import InitProducerIdRequest, InitProducerIdResponse

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.errors import StorageUnavailable
from kafscale.protocol.error_codes import ErrorCode


async def init_producer_id(
    services: Services, context: RequestContext, request: InitProducerIdRequest
) -> InitProducerIdResponse:
    """Hand out a producer id at epoch 0."""
    if request.transactional_id is not None:
        empty = request.transactional_id == ""
        error = ErrorCode.INVALID_REQUEST if empty else ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        return _reply(context.api_version, error, -1, -1)
    try:
        producer_id = await services.producer_ids.next()
    except StorageUnavailable:
        return _reply(context.api_version, ErrorCode.COORDINATOR_NOT_AVAILABLE, -1, -1)
    return _reply(context.api_version, ErrorCode.NONE, producer_id, 0)


def _reply(version: int, error: ErrorCode, producer_id: int, epoch: int) -> InitProducerIdResponse:
    return InitProducerIdResponse(
        version=version, throttle_time_ms=0, error_code=int(error), producer_id=producer_id, producer_epoch=epoch
    )
