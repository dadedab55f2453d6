from enum import IntEnum

class ApiKey(IntEnum):
    Produce = 0
