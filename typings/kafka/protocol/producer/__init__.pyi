# Written by typings/generate.py
from .produce import ProduceRequest as ProduceRequest
from .produce import ProduceResponse as ProduceResponse
from .transaction import AddOffsetsToTxnRequest as AddOffsetsToTxnRequest
from .transaction import AddOffsetsToTxnResponse as AddOffsetsToTxnResponse
from .transaction import AddPartitionsToTxnRequest as AddPartitionsToTxnRequest
from .transaction import AddPartitionsToTxnResponse as AddPartitionsToTxnResponse
from .transaction import EndTxnRequest as EndTxnRequest
from .transaction import EndTxnResponse as EndTxnResponse
from .transaction import InitProducerIdRequest as InitProducerIdRequest
from .transaction import InitProducerIdResponse as InitProducerIdResponse
from .transaction import TxnOffsetCommitRequest as TxnOffsetCommitRequest
from .transaction import TxnOffsetCommitResponse as TxnOffsetCommitResponse
from .transaction import WriteTxnMarkersRequest as WriteTxnMarkersRequest
from .transaction import WriteTxnMarkersResponse as WriteTxnMarkersResponse
