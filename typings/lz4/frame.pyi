from typing_extensions import Buffer

BLOCKSIZE_MAX64KB: int

class LZ4FrameDecompressor:
    eof: bool
    needs_input: bool
    unused_data: bytes | None
    def decompress(self, data: Buffer, max_length: int = ...) -> bytes: ...

def compress(
    data: Buffer,
    compression_level: int = ...,
    block_size: int = ...,
    content_checksum: bool = ...,
    block_linked: bool = ...,
    store_size: bool = ...,
) -> bytes: ...
