"""Partial reads of FITS files, local or remote: index, tiles, codecs, transport, tables."""
