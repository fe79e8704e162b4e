#pragma once
#include <zlib.h>

/* Macros. 31: a gzip header and trailer (RFC 1952) around deflate. */
static inline int strongroom_gzip_begin(z_stream *stream) {
    return deflateInit2(stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
}
static inline int strongroom_gunzip_begin(z_stream *stream) { return inflateInit2(stream, 31); }
