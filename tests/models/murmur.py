"""MurmurHash3 by its definition, to hold ours against."""


def murmur3(data: bytes) -> int:
    """MurmurHash3_x86_32 of whole words by its definition, in whole numbers of any size."""
    most, h = 0xFFFFFFFF, 0
    for at in range(0, len(data), 4):
        k = int.from_bytes(data[at : at + 4], "little") * 0xCC9E2D51 & most
        k = (k << 15 | k >> 17) & most
        h ^= k * 0x1B873593 & most
        h = ((h << 13 | h >> 19) & most) * 5 + 0xE6546B64 & most
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & most
    h = (h ^ h >> 13) * 0xC2B2AE35 & most
    return h ^ h >> 16
