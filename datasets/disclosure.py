"""The mark of generated media: the IPTC digital source type, as XMP in MP4 files and as a key of JSON.

It is a plain statement that tools such as exiftool and ffprobe read, not a signed C2PA manifest: it can be removed.
"""

from collections.abc import Iterator, Mapping

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

# The box that holds XMP at the top level of an MP4 (Adobe, XMP specification part 3, 2020, section 1.1.4).
_XMP_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()


def mark_generated(mp4: bytes) -> bytes:
    """``mp4`` with the mark, at its end; unchanged if it is marked. Not encoded again: all other bytes stay."""
    if is_marked(mp4):
        return mp4
    content = b"uuid" + _XMP_UUID + _XMP
    return mp4 + (len(content) + 4).to_bytes(4, "big") + content


def mark_videos(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """``members`` of a sample with every video marked."""
    return {name: mark_generated(data) if name.endswith(".mp4") else data for name, data in members.items()}


def is_marked(mp4: bytes) -> bool:
    """Whether XMP in ``mp4`` states the digital source type of generated media."""
    return any(DIGITAL_SOURCE_TYPE.encode() in packet for packet in _xmp_packets(mp4))


def _xmp_packets(mp4: bytes) -> Iterator[bytes]:
    """The XMP packets in the top-level boxes, each a size, a type and its content."""
    start = 0
    while start + 8 <= len(mp4):
        header, size = 8, int.from_bytes(mp4[start : start + 4], "big")
        if size == 1:  # a 64-bit size follows
            header, size = 16, int.from_bytes(mp4[start + 8 : start + 16], "big")
        end = len(mp4) if size == 0 else start + size  # 0: until the end of the file
        if end < start + header or end > len(mp4):
            return
        if mp4[start + 4 : start + 8] == b"uuid" and mp4[start + header : start + header + 16] == _XMP_UUID:
            yield mp4[start + header + 16 : end]
        start = end
