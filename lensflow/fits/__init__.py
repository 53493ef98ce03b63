"""Parts of FITS files from anywhere: index, tiles, codecs, transport, tables."""
