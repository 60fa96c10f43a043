"""Captions as token ids by hashing words: no vocabulary file, any language, a fixed length."""

import re
import zlib

CAPTION_TOKENS = 12
VOCABULARY_SIZE = 512


def caption_ids(caption: str) -> list[int]:
    """``CAPTION_TOKENS`` ids from 1 to ``VOCABULARY_SIZE``, padded with 0; an empty caption is all padding."""
    words = re.findall(r"\w+", caption.lower())[:CAPTION_TOKENS]
    ids = [1 + zlib.crc32(word.encode()) % VOCABULARY_SIZE for word in words]
    return ids + [0] * (CAPTION_TOKENS - len(ids))
